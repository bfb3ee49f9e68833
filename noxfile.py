"""Everything a developer or a first-time user runs, by name.

``python3 noxfile.py SESSION…`` needs Python 3.11, pip and git, no more: it makes its own environment for nox below
``.nox`` and goes on there, from whatever folder it is called. With nox at hand, ``nox -s SESSION`` does the same.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent
NOX_VERSION = "nox>=2025.2.9"

try:
    import nox
    from nox.command import CommandFailed
except ImportError:
    if __name__ != "__main__":
        raise
    import venv

    _home = ROOT / ".nox" / "bootstrap"
    _python = _home / ("Scripts" if os.name == "nt" else "bin") / "python"
    _ready = _python.exists() and not subprocess.run([_python, "-c", "import nox"], check=False).returncode
    if not _ready:
        sys.stderr.write(f"Setting up nox in {_home} …\n")
        venv.create(_home, with_pip=True, clear=True)
        subprocess.run([_python, "-m", "pip", "install", "--quiet", NOX_VERSION], check=True)
    sys.exit(subprocess.run([_python, str(ROOT / "noxfile.py"), *sys.argv[1:]], check=False).returncode)

nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True

COMPILED_ONCE = {"PYTHONDONTWRITEBYTECODE": ""}
"""Whatever the developer has set: tests start the command more than a thousand times."""

ALL_EXTRAS = "[milvus,models,postgres,serve,text]"
"""What the tests need: torch is what the networks are held against."""

WITHOUT_TORCH = "[milvus,postgres,serve,text]"
"""The lowest torch comes with gigabytes for GPUs."""

QUICK_TESTS = tuple(
    f"tests/{name}"
    for name in ("filters", "search", "service", "sources", "storage", "transfer", "test_instance.py", "test_docs.py")
)
"""What uses each dependency in seconds."""

QUICK = ("-m", "not extended and not long and not networks")

LARGEST = 10
"""Packages that the session ``base`` lists."""

NOT_COUNTED = ("tmp", "lib64")
"""Of an environment: what the session itself has made, and a link."""

PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")


def _group(name: str) -> list[str]:
    return nox.project.dependency_groups(PYPROJECT, name)


def _install(session: nox.Session, *groups: str, extras: str = "") -> None:
    """The project itself and what the groups name, in one go, so that pip chooses versions that go together."""
    session.install("-e", f"{ROOT}{extras}", *(requirement for group in groups for requirement in _group(group)))


def _install_locked(session: nox.Session) -> None:
    """What the tests need, in the versions of the lock and checked by its digests; only torch is in no lock."""
    _install_lock(session, "ci")
    _install(session, "test", extras=ALL_EXTRAS)


def _install_lock(session: nox.Session, name: str) -> None:
    session.install("--require-hashes", "--no-deps", "-r", str(ROOT / "requirements" / f"{name}.txt"))


@nox.session
def demo(session: nox.Session) -> None:
    """Index sample_data and find by picture: the main job, end to end."""
    _install(session)
    instance = str(Path(session.create_tmp()) / "sample")
    pictures = ROOT / "sample_data"
    session.run("imgsearch", "add", "-i", instance, "--manifest", str(pictures / "increment.meta"), "--format", "table")
    queries = sorted((pictures / "queries").iterdir())
    session.run("imgsearch", "search", "-i", instance, str(queries[0]), "-n", "5", "--format", "table")
    output = session.run(
        "imgsearch",
        "search",
        "-i",
        instance,
        *map(str, queries),
        "-n",
        "1",
        "--format",
        "jsonl",
        silent=True,
        stderr=None,
    )
    _tell_first_hits(session, str(output))


def _tell_first_hits(session: nox.Session, output: str) -> None:
    """Compare each first hit with the product that the query picture is named after."""
    import json

    answers = [json.loads(line) for line in output.splitlines()]
    right = sum(answer["Auctions"][0]["ProductId"] == Path(answer["Query"]).stem for answer in answers)
    session.log(f"first hit is the same product: {right} of {len(answers)} sample queries")
    first = answers[0]
    if first["Auctions"][0]["ProductId"] != Path(first["Query"]).stem:
        session.error(f"the first hit for {first['Query']} is another product")


@nox.session
def tests(session: nox.Session) -> None:
    """The ordinary suite, side by side on all cores; in the precision that IMGSEARCH_PRECISION names, if it is set."""
    _install_locked(session)
    _pytest(session)


@nox.session
def extended(session: nox.Session) -> None:
    """What the ordinary suite leaves out because each takes seconds: whole commands, kills, conversions of models."""
    _install_locked(session)
    _pytest(session, "-m", "extended and not long")


def _pytest(session: nox.Session, *selection: str, **environment: str) -> None:
    """Tests side by side; neighbours stay together, as they share what was made for the first of them."""
    words = ("python", "-m", "pytest", *selection, "-n", "logical", "--dist", "worksteal")
    session.run(*words, *session.posargs, env=COMPILED_ONCE | environment)


@nox.session
def base(session: nox.Session) -> None:
    """The main job in an environment with the base installation only; its size, and that of its largest packages."""
    session.install(str(ROOT))
    present = "import importlib.util as util; print([name for name in ('torch', 'timm') if util.find_spec(name)])"
    if str(session.run("python", "-c", present, silent=True)).split()[-1] != "[]":
        session.error("the base installation brings torch or timm")
    folder = Path(session.create_tmp())
    pictures = ROOT / "sample_data"
    environment = {"IMGSEARCH_CACHE": str(folder / "cache")}
    imgsearch = partial(session.run, "imgsearch", env=environment)
    for place in ("cache", "first", "second"):
        shutil.rmtree(folder / place, ignore_errors=True)
    manifest = ("--manifest", str(pictures / "increment.meta"), "--format", "table")
    imgsearch("init", "-i", str(folder / "first"))
    imgsearch("add", "-i", str(folder / "first"), *manifest)
    imgsearch("add", "-i", str(folder / "second"), *manifest)
    imgsearch("search", "-i", str(folder / "first"), str(pictures / "queries" / "mug-red.jpg"), "--format", "table")
    imgsearch("eval", str(pictures / "catalogue"), "--format", "table")
    refused = imgsearch("init", "-i", str(folder / "other"), "--model", "resnet18", success_codes=[3], silent=True)
    session.log(str(refused).strip())
    for name, kilobytes in _sizes(Path(session.virtualenv.location)):
        session.log(f"{kilobytes / 1024:7.1f} MiB  {name}")


def _sizes(environment: Path) -> list[tuple[str, int]]:
    """The whole environment and its largest packages, in kilobytes on the disk."""
    (packages,) = environment.glob("lib/python*/site-packages")
    sizes: dict[str, int] = {}
    for package in packages.iterdir():
        # Shared libraries lie beside the package that they were built for.
        name = package.name.partition(".")[0].removesuffix("_cpu").replace("pillow", "PIL")
        sizes[name] = sizes.get(name, 0) + _kilobytes(package)
    ordered = sorted(sizes.items(), key=lambda pair: -pair[1])
    return [
        ("in all", sum(_kilobytes(path) for path in environment.iterdir() if path.name not in NOT_COUNTED)),
        *ordered[:LARGEST],
    ]


def _kilobytes(path: Path) -> int:
    return sum(one.lstat().st_blocks for one in (path, *path.rglob("*"))) // 2


@nox.session
def lowest(session: nox.Session) -> None:
    """The quick tests with the lowest versions that pyproject.toml allows; without torch."""
    session.install(*(one for one in _group("release") if one.startswith("uv")))
    installing = ("uv", "pip", "install", "--quiet", "--compile-bytecode", "--resolution", "lowest-direct")
    session.run(*installing, "--python", session.virtualenv.location, "-e", f"{ROOT}{WITHOUT_TORCH}", *_group("test"))
    # Old releases use what newer ones of their own dependencies warn of.
    tests = (*QUICK_TESTS, *QUICK, "-W", "ignore::DeprecationWarning")
    session.run("python", "-m", "pytest", "-n", "logical", *tests, *session.posargs, env=COMPILED_ONCE)


@nox.session(python=["3.12", "3.13"])
def pythons(session: nox.Session) -> None:
    """The quick tests with each newer Python that the project claims to support; without torch."""
    _install_lock(session, "ci")
    session.install("--no-deps", "-e", str(ROOT))
    session.run("python", "-m", "pytest", "-n", "logical", *QUICK_TESTS, *QUICK, *session.posargs, env=COMPILED_ONCE)


@nox.session
def precision(session: nox.Session) -> None:
    """The tests that stand on what networks make of pictures, in float32 and in bfloat16 where the processor has it."""
    _install_locked(session)
    asks = "from imgsearch.vision import precision; print(precision.has_bfloat16())"
    has_bfloat16 = str(session.run("python", "-c", asks, silent=True)).split()[-1] == "True"
    failed = []
    for name in ("f32", "bf16") if has_bfloat16 else ("f32",):
        session.log(f"networks calculate in {name}")
        try:
            _pytest(session, "-m", "networks and not long", IMGSEARCH_PRECISION=name)
        except CommandFailed:
            failed.append(name)
    if not has_bfloat16:
        session.warn("NOT TESTED in bf16: this processor has no bfloat16; all was tested in f32")
    if failed:
        session.error(f"tests failed in {', '.join(failed)}")


@nox.session
def long(session: nox.Session) -> None:
    """The tests that take minutes: imports at size, commands killed and hindered at every step."""
    _install_locked(session)
    limit = ("-o", "faulthandler_timeout=14400")
    session.run("python", "-m", "pytest", "-m", "long", *limit, *session.posargs, env=COMPILED_ONCE)


@nox.session
def sdks(session: nox.Session) -> None:
    """The server's tests with the vendor's SDKs: the present ones, older ones and npm's in places of their own."""
    _install_locked(session)
    wanted = json.loads((ROOT / "tests" / "server" / "sdks.json").read_text())
    base = Path(session.create_tmp())
    interpreters = {}
    for version, sdk in wanted["python"].items():
        folder = base / version
        session.run("python", "-m", "venv", str(folder))
        interpreters[version] = str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")
        install = (interpreters[version], "-m", "pip", "install", "--quiet")
        session.run(*install, *sdk["requirements"], external=True)
    environment = {**COMPILED_ONCE, "IMGSEARCH_SDK_INTERPRETERS": json.dumps(interpreters)}
    if shutil.which("npm"):
        (base / "npm").mkdir(exist_ok=True)
        install = ("npm", "install", "--no-audit", "--no-fund", "--prefix", str(base / "npm"))
        session.run(*install, wanted["npm"], external=True)
        environment["IMGSEARCH_NODE_MODULES"] = str(base / "npm" / "node_modules")
    else:
        session.warn("NOT TESTED with npm's SDK: npm is missing")
    session.run("python", "-m", "pytest", "-m", "", "tests/server/test_sdks.py", *session.posargs, env=environment)


@nox.session
def simulate(session: nox.Session) -> None:
    """Simulate an instance with faults, then look for all planted bugs; ``-- --seed 7 --operations 1000000``."""
    _install_locked(session)
    session.run("python", "-m", "tests.simulation", *(session.posargs or ("--operations", "20000")), env=COMPILED_ONCE)
    session.run("python", "-m", "tests.simulation", "--planted", "--operations", "12000", env=COMPILED_ONCE)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Throw mutated input at all that reads what strangers wrote; ``-- picture --seconds 3600`` for one, longer."""
    _install(session, "fuzz", "test", extras=WITHOUT_TORCH)  # seeds are made by what the tests are made of
    session.run("python", "-m", "fuzz", *session.posargs)


@nox.session
def mutation(session: nox.Session) -> None:
    """Change the engine's core in one place at a time, and see whether tests tell; ``-- --seed 2 --count 30``."""
    _install_locked(session)
    session.run("python", "-m", "mutation", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and suspicious code."""
    session.install(*_group("lint"))
    session.run("ruff", "format", "--check", str(ROOT))
    session.run("ruff", "check", str(ROOT))


@nox.session
def types(session: nox.Session) -> None:
    """Types of the package, strictly."""
    _install(session, "types", extras=ALL_EXTRAS)
    session.run("mypy", "--config-file", str(ROOT / "pyproject.toml"))


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Print the tables of benchmarks/: speed, memory and, where the evaluation data lies beside, quality."""
    _install_locked(session)  # some stand on what the tests have made
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Write requirements/*.txt, the versions and digests of what CI installs; ``-- --upgrade``, ``-- --check``."""
    _install_lock(session, "release")
    session.run("python", "-m", "release.lock", *session.posargs)


@nox.session
def release(session: nox.Session) -> None:
    """Build wheel and source archive twice, into dist/ if they are the same, with a list of what they consist of."""
    _install_lock(session, "release")
    session.run("python", "-m", "release.reproduce", str(ROOT / "dist"))
    session.run("python", "-m", "release.bill", str(ROOT / "dist"))


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheel, install it alone, and start the command."""
    session.install("build")
    target = session.create_tmp()
    session.run("python", "-m", "build", "--wheel", "--outdir", target, str(ROOT))
    (wheel,) = sorted(Path(target).glob("*.whl"))[-1:]
    session.install("--force-reinstall", str(wheel))
    session.run("imgsearch", "--version")


if __name__ == "__main__":
    import nox.__main__

    os.chdir(ROOT)
    sys.argv = ["nox", "-s", *(sys.argv[1:] or nox.options.sessions)]
    nox.__main__.main()
