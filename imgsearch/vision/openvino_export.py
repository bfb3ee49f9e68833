"""Networks made ready for OpenVINO, once per machine, in a cache that any number of processes share.

Embedded models are built straight from their weights (``graph_builder``), which takes about a second. All others need
torch and timm, which take seconds to import and gigabytes to load, so they live in a child process that runs this
module; the process that indexes or searches sees the result only. An entry of the cache is a folder that appears whole,
by one rename, under a lock: a second process waits for the first, and a killed one leaves nothing that anybody takes
for a model.
"""

from __future__ import annotations

import glob
import json
import secrets
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imgsearch.durable_fs import file_errors, storage_full, sync, sync_folder
from imgsearch.errors import InvalidModel
from imgsearch.quantization import HALF
from imgsearch.vision.extras import MODELS_EXTRA, missing_packages, pip_install
from imgsearch.vision.model_cache import RECORD_NAME, mark_used, models_folder, prune, versions
from imgsearch.vision.model_weights import weights_file
from imgsearch.vision.models import EMBEDDER, ModelRecord
from imgsearch.vision.openvino_compat import keeping_locale, load_openvino, without_telemetry

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ConvertedModel", "converted_model", "is_converted", "prepared_models"]

MODEL_NAME: Final = "model.xml"
WEIGHTS_NAME: Final = "model.bin"
TEXT_NAME: Final = "text.xml"
TOKENIZER_NAME: Final = "tokenizer.json"
EXIT_INVALID: Final = 3
STEP: Final = "step "
"""Begin of a line in which the converting process tells how far it is."""
BUILT_SECONDS: Final = 1
"""What building one network takes, its first compilation included, on two cores."""
SPACE_BYTES: Final = 64 * 2**20
"""More than any network takes: if less is free, a failure to save one is for want of space."""
CONVERTED_SECONDS: Final = 20
"""Likewise, of converting one with the help of torch; large ones take longer."""


class ConvertedModel:
    """A model in the cache: its complete record, and the file that OpenVINO reads."""

    def __init__(self, folder: Path, record: ModelRecord) -> None:
        self.folder = folder
        self.record = record

    @property
    def note(self) -> Path:
        """What says that the entry is complete; its time of change is that of the last use."""
        return self.folder / RECORD_NAME

    @property
    def path(self) -> Path:
        """The OpenVINO model; the weights lie beside it."""
        return self.folder / MODEL_NAME

    @property
    def text_path(self) -> Path:
        """The text tower as an OpenVINO model, where there is one."""
        return self.folder / TEXT_NAME

    @property
    def tokenizer_path(self) -> Path:
        """What turns texts into tokens for it."""
        return self.folder / TOKENIZER_NAME

    @classmethod
    def load(cls, folder: Path) -> ConvertedModel | None:
        """The model in that folder of the cache, if there is a complete one."""
        try:
            note = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
            for name, size in note["sizes"].items():
                if (folder / name).stat().st_size != size:
                    return None
            return cls(folder, ModelRecord.from_dict(note["record"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # whatever it is, it can be made again


def converted_model(
    record: ModelRecord, cache: Path, announce: Callable[[str], None] = lambda _message: None
) -> ConvertedModel:
    """One record's network from the cache; makes it first where it is not there.

    Args:
        record: of an embedded model, of an instance's stamp, or as ``find_model`` gives it.
        cache: folder shared by all processes of the user.
        announce: told in lines for people that this begins, and its steps.

    Raises:
        InvalidModel: unknown to timm, weights missing or not fitting, or not to be had from the hub; or it takes
            packages that are not installed.
        StorageFull, StorageUnwritable: the cache.
    """
    return _converted(record, cache, lambda: announce(_preparing([record])), announce)


def prepared_models(
    record: ModelRecord, cache: Path, announce: Callable[[str], None] = lambda _message: None
) -> ConvertedModel:
    """A model's own network, with those that find subjects and tell categories beside it in the cache.

    What is missing is made at once, and told once, so that nobody waits a second time later on.

    Args:
        record: as for ``converted_model``.
        cache: likewise.
        announce: likewise.

    Raises:
        InvalidModel, StorageFull, StorageUnwritable: as for ``converted_model``.
    """
    records = [record, record.locator(), record.categoriser()]
    told = False

    def begin() -> None:
        nonlocal told
        if not told:
            announce(_preparing([one for one in records if not is_converted(one, cache)]))
        told = True

    own, *_others = [_converted(one, cache, begin, announce) for one in records]
    if told:
        prune(cache)
    return own


def _preparing(records: list[ModelRecord]) -> str:
    """What people are told when records' networks are made."""
    from imgsearch.vision.graph_builder import can_build

    seconds = sum(BUILT_SECONDS if can_build(record) else CONVERTED_SECONDS for record in records)
    return (
        f"Preparing the networks of {records[0].name}: this takes about {seconds} "
        f"second{'s' if seconds > 1 else ''} and happens once on this machine …"
    )


def _converted(
    record: ModelRecord, cache: Path, begin: Callable[[], None], announce: Callable[[str], None]
) -> ConvertedModel:
    folder = _home(record, cache)
    model = ConvertedModel.load(folder)
    if model is not None and not mark_used(model.note):
        model = ConvertedModel.load(folder)
    if model is None:
        from filelock import FileLock

        with file_errors(cache):
            folder.parent.mkdir(parents=True, exist_ok=True)  # networks are no secret: others may use a warmed cache
            with FileLock(folder.with_name(f"{folder.name}.lock")):
                # How features are kept is not the networks' business: both kinds of instance share them.
                model = ConvertedModel.load(folder) or _convert(replace(record, bits=HALF), folder, begin, announce)
    found = model.record
    if record.weights_hash and found.weights_hash != record.weights_hash:
        raise InvalidModel(
            f"the weights of {record.name} are other ones now (hash {found.weights_hash[:12]}… instead of "
            f"{record.weights_hash[:12]}…): give the file they were in with --weights"
        )
    # All else is as asked for: the same weights may lie elsewhere now than when the cache was filled.
    return ConvertedModel(
        model.folder,
        replace(
            record,
            weights_hash=found.weights_hash,
            input_size=found.input_size,
            mean=found.mean,
            std=found.std,
            dimension=found.dimension,
        ),
    )


def is_converted(record: ModelRecord, cache: Path) -> bool:
    """Whether the cache holds it."""
    return ConvertedModel.load(_home(record, cache)) is not None


def _home(record: ModelRecord, cache: Path) -> Path:
    return models_folder(cache) / record.cache_name()


def _convert(
    record: ModelRecord, folder: Path, begin: Callable[[], None], announce: Callable[[str], None]
) -> ConvertedModel:
    from imgsearch.vision.graph_builder import can_build

    weights_file(record)  # a missing package is said at once
    builds = can_build(record)
    if not builds and not record.is_folder and (missing := missing_packages()):
        raise InvalidModel(
            f"the model {record.name} is converted with the help of {' and '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed: {pip_install(MODELS_EXTRA)} brings what is needed"
        )
    begin()
    for leftover in folder.parent.glob(f"{glob.escape(folder.name)}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)  # of a process that was killed: the lock is ours
    # Under a new name each time: the killed one's child may still be writing.
    temporary = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        if builds:
            convert(record, temporary)
        else:
            _convert_in_child(record, temporary, announce)
        for path in (*temporary.iterdir(), temporary):
            sync(path)
        return _put_in_place(temporary, folder, record)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _convert_in_child(record: ModelRecord, target: Path, announce: Callable[[str], None]) -> None:
    status, said = _run_child(record, target, announce)
    if status == EXIT_INVALID:
        raise InvalidModel(said.strip().splitlines()[-1])
    if status != 0:
        raise RuntimeError(f"converting {record.name} failed with status {status}:\n{said}")


def _run_child(record: ModelRecord, target: Path, announce: Callable[[str], None]) -> tuple[int, str]:
    """Convert in a process of its own, announcing its steps; its exit status, and what else it said."""
    said = []
    with subprocess.Popen(
        # -P: a timm.py in the folder where the user happens to be is not ours to run.
        [sys.executable, "-P", "-m", "imgsearch.vision.openvino_export", str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        with suppress(BrokenPipeError):  # it died at once: its status says so
            child.stdin.write(json.dumps(record.as_dict()))
            child.stdin.close()
        for line in child.stdout:
            if line.startswith(STEP):
                announce(f"  {line.removeprefix(STEP).rstrip()}")
            else:
                said.append(line)
    return child.returncode, "".join(said)


def _put_in_place(temporary: Path, folder: Path, asked: ModelRecord) -> ConvertedModel:
    """Rename a converted model to the name of its complete record, and let the name that was asked for lead there.

    The two differ where conversion found out what the model is fed with, or the hash of weights from the hub.
    """
    from filelock import FileLock

    made = ConvertedModel.load(temporary)
    if made is None:
        raise RuntimeError(f"the converted model in {temporary} is incomplete")
    home = folder.with_name(made.record.cache_name())
    if home == folder:
        _replace(home, temporary)
    else:
        with FileLock(f"{home}.lock"):
            if ConvertedModel.load(home) is None:
                _replace(home, temporary)
        _remove(folder)
        if asked.weights_hash in ("", made.record.weights_hash):  # else these weights are not the ones
            with suppress(OSError):  # where there are no links, it is converted again
                folder.symlink_to(home.name)
    sync_folder(folder.parent)
    return ConvertedModel(home, made.record)


def _replace(folder: Path, temporary: Path) -> None:
    _remove(folder)  # an incomplete one
    temporary.rename(folder)


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


# From here on: what makes the files, in this process or in the child.


def convert(record: ModelRecord, target: Path) -> ModelRecord:
    """Convert a model into the files of ``target``; return its complete record.

    Raises:
        InvalidModel
    """
    from imgsearch.vision.graph_builder import can_build

    if record.is_folder:
        complete = _convert_folder(record, target)
    elif can_build(record):
        complete = _build_network(record, target)
    else:
        complete = _convert_network(record, target)
    sizes = {path.name: path.stat().st_size for path in target.iterdir()}
    note = {"versions": versions(), "record": complete.as_dict(), "sizes": sizes}
    (target / RECORD_NAME).write_text(json.dumps(note, indent=1), encoding="utf-8")
    return complete


def _build_network(record: ModelRecord, target: Path) -> ModelRecord:
    from imgsearch.vision.graph_builder import build

    graph, length = build(record)
    with keeping_locale():
        try:
            load_openvino().save_model(graph, target / MODEL_NAME, compress_to_fp16=True)
        except RuntimeError as error:  # OpenVINO does not say why
            if shutil.disk_usage(target).free < SPACE_BYTES:
                raise storage_full(target.parent) from error
            raise
    return replace(record, dimension=length) if record.purpose == EMBEDDER else record


def _convert_folder(record: ModelRecord, target: Path) -> ModelRecord:
    from imgsearch.vision.towers import convert_towers

    return convert_towers(record, target / MODEL_NAME, target / TEXT_NAME, target / TOKENIZER_NAME)


def _convert_network(record: ModelRecord, target: Path) -> ModelRecord:
    _tell("1/3 loading torch and timm")
    openvino = load_openvino()
    import torch

    with without_telemetry():
        from openvino.tools.ovc import convert_model

    from imgsearch.vision.model_builder import assembled, import_timm, input_size, load_network

    import_timm()
    _tell("2/3 reading the weights")
    network, weights_hash = load_network(record)
    _tell("3/3 converting for OpenVINO")
    own = network.pretrained_cfg
    size = record.input_size or input_size(network)
    mean, std = (record.mean, record.std) if record.input_size else (tuple(own["mean"]), tuple(own["std"]))
    complete = replace(record, weights_hash=weights_hash, input_size=size, mean=mean, std=std)
    module = assembled(complete, network)
    example = torch.zeros((1, size, size, 3), dtype=torch.uint8)
    with torch.no_grad():
        outputs = module(example)
        converted = convert_model(module, example_input=example, input=[(1, size, size, 3)])
    openvino.save_model(converted, target / MODEL_NAME, compress_to_fp16=True)
    if record.purpose == EMBEDDER:
        complete = replace(complete, dimension=int(outputs[0].shape[1]))
    return complete


def _tell(step: str) -> None:
    sys.stdout.write(f"{STEP}{step}\n")
    sys.stdout.flush()


def main() -> int:
    """Read a record on stdin, convert it into the folder given as argument."""
    record = ModelRecord.from_dict(json.load(sys.stdin))
    try:
        convert(record, Path(sys.argv[1]))
    except InvalidModel as error:
        sys.stdout.write(error.message)
        return EXIT_INVALID
    return 0


if __name__ == "__main__":
    sys.exit(main())
