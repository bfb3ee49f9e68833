"""``oss-import`` as a process against a storage service on loopback that verifies every signature.

Contract: the instance is the one that ``add --manifest`` makes of the same files; a failed line is told and ends no
other; what was done is not done again; nothing of a picture and no secret is left anywhere.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imgsearch.sources.oss.policy import LIST_OBJECTS
from imgsearch.storage.lock import writer_lock
from tests import milvus_server, postgres_server
from tests.conftest import Run
from tests.oss_server import ALLOW_ALL, KEY_ID, SECRET, Fault, Key, OssServer, Role
from tests.oss_shop import (
    ADDRESS,
    BUCKET,
    FOLDER,
    Shop,
    content,
    copy_samples,
    line,
    put_alike,
    remember_alike,
)
from tests.pictures import draw, encode, jpeg

ARN = "acs:ram::1234567890123456:role/imagesearch-reader"


def counts(document: dict[str, Any]) -> tuple[int, ...]:
    return tuple(document[name] for name in ("Added", "Replaced", "Unchanged", "Deleted", "Failed"))


def varied(names: list[str]) -> list[dict[str, Any] | str]:
    """Lines of every kind over the pictures of these names: both dialects, options, duplicates, deletions, faults."""
    lines: list[dict[str, Any] | str] = []
    for number, name in enumerate(names):
        match number % 8:
            case 0:
                lines.append(line(name))
            case 1:
                lines.append(line(name, CategoryId=3, IntAttr=number, StrAttr="red", CustomContent=f"k:{number}"))
            case 2:
                lines.append(line(name, Region="10,150,20,160", IntAttr4=-number, StrAttr4="ü"))
            case 3:
                legacy = {"operator": "ADD", "item_id": f"old-{number}", "pic_list": [name], "cat_id": 9}
                lines.append({**legacy, "cust_content": "a:b", "int_attr": 7, "str_attr": "blue"})
            case 4:
                lines.append(line(name, Crop=False))
            case 5:
                lines += [line(name, IntAttr=1), line(name, IntAttr=2)]
            case 6:
                lines += [
                    line(name),
                    {"OperationType": "DELETE", "ProductId": line(name)["ProductId"], "PicName": name},
                ]
            case 7:
                lines += [line(name, ProductId=f"whole-{number}"), {"OperationType": "DELETE", "ProductId": "none"}]
    faults = [
        line("missing.jpg"),
        line("/leading.jpg"),
        line("no-suffix"),
        line("../above.jpg"),
        line(names[0], Colour="red"),
        line(names[0], IntAttr="many"),
        "no json",
        "",
        json.dumps(line(names[0])) + json.dumps(line(names[0])),
    ]
    middle = len(lines) // 2
    return [*lines[:middle], *faults, *lines[middle:]]


def check_equals_add(shop: Shop, run: Run, folder: Path, count: int, region: str | None) -> None:
    """Import and add the same, and compare items, features bit for bit, summaries and failures."""
    names = copy_samples(shop.folder, count)
    shop.write(varied(names))
    if region is not None:
        run("init", "--region-id", region, "-i", folder / "imported")
    imported = shop.run(folder / "imported")
    added = run("add", "--manifest", shop.folder / "increment.meta", "-i", folder / "added")
    assert (imported.returncode, added.returncode) == (1, 1), imported.stderr
    assert counts(imported.document) == counts(added.document)
    assert imported.document["Failed"] == 8
    prefix = f"{ADDRESS}/increment.meta:"
    ours, theirs = ([{**failure, "Source": failure["Source"].rpartition(":")[2]} for failure in document["Failures"]]
                    for document in (imported.document, added.document))  # fmt: skip
    assert all(failure["Source"].startswith(prefix) for failure in imported.document["Failures"])
    assert [(failure["Source"], failure["Code"]) for failure in ours] == [
        (failure["Source"], failure["Code"]) for failure in theirs
    ]
    own, other = content(folder / "imported"), content(folder / "added")
    assert len(own) > count * 0.8
    assert own == other
    assert shop.server.counts["V1" if region is None else "V4"] > count
    assert not shop.server.counts["V4" if region is None else "V1"]


@pytest.mark.extended
@pytest.mark.parametrize("region", ["cn-shanghai", None], ids=["V4", "V1"])
def test_an_import_equals_an_add(shop: Shop, run: Run, folder: Path, region: str | None) -> None:
    """Pictures in sub-folders, lines of every kind."""
    check_equals_add(shop, run, folder, 48, region)


@pytest.mark.long
def test_an_import_of_2000_lines_equals_an_add(shop: Shop, run: Run, folder: Path) -> None:
    """The same at size."""
    check_equals_add(shop, run, folder, 2000, "cn-shanghai")


@pytest.mark.extended
def test_a_new_instance_keeps_the_region_it_was_made_with(shop: Shop, run: Run, folder: Path) -> None:
    """From then on no --region-id is needed, and another one is refused."""
    (name,) = copy_samples(shop.folder, 1)
    shop.write([line(name)])
    result = shop.run(folder, "--region-id", "cn-shanghai", "--kind", "generic")
    assert (result.returncode, "Created a generic instance" in result.stderr) == (0, True)
    assert run("info").document["RegionId"] == "cn-shanghai"
    shop.server.counts.clear()
    assert shop.run(folder).returncode == 0
    assert (shop.server.counts["V4"], shop.server.counts["V1"]) == (4, 0)
    assert shop.run(folder, "--region-id", "cn-beijing").document["Code"] == "BucketRegionMismatch"


@pytest.mark.extended
def test_running_again_downloads_nothing(shop: Shop, folder: Path) -> None:
    """Unchanged objects cost one listing; changed lines without a change of the picture none of their bytes either."""
    names = copy_samples(shop.folder, 30)
    shop.write([line(name) for name in names])
    assert counts(shop.run(folder).document) == (30, 0, 0, 0, 0)
    assert shop.server.counts["list"] == 1, "a first import looks nothing up"
    shop.server.fetched.clear()
    shop.server.counts.clear()
    assert counts(shop.run(folder).document) == (0, 0, 30, 0, 0)
    assert shop.downloads() == 0
    assert shop.server.counts["GET object"] == 1, "the manifest's"
    assert shop.server.counts["HEAD object"] == 0
    assert shop.server.counts["list"] == 2
    shop.write([line(name, StrAttr="new") for name in reversed(names)])
    assert counts(shop.run(folder).document) == (0, 30, 0, 0, 0)
    assert shop.downloads() == 0
    (shop.folder / names[3]).write_bytes(encode(draw(1)))
    shop.write([line(name, StrAttr="new") for name in names])
    assert counts(shop.run(folder).document) == (0, 1, 29, 0, 0)
    assert shop.downloads() == 1


@pytest.mark.extended
def test_objects_that_are_written_again_with_the_same_bytes(shop: Shop, folder: Path) -> None:
    """Another ETag (a multipart upload) over the same bytes is downloaded once, is unchanged, and then known."""
    (name,) = copy_samples(shop.folder, 1)
    shop.write([line(name)])
    shop.run(folder)
    shop.server.buckets[BUCKET][f"{FOLDER}/{name}"].etag = "0123-1"
    assert counts(shop.run(folder).document) == (0, 0, 1, 0, 0)
    assert shop.downloads() == 2
    assert counts(shop.run(folder).document) == (0, 0, 1, 0, 0)
    assert shop.downloads() == 2


@pytest.mark.long
@pytest.mark.parametrize("count", [100_000])
def test_unchanged_lines_at_size(shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """The second run asks for the manifest and for pages of the listing, and for nothing else."""
    put_alike(shop.server, count)
    monkeypatch.setenv("OSS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("OSS_ACCESS_KEY_SECRET", SECRET)
    remember_alike(folder, count, shop.server.url)
    shop.server.counts.clear()
    result = shop.run(folder)
    assert (result.returncode, counts(result.document)) == (0, (0, 0, count, 0, 0)), result.stderr
    assert shop.server.counts["GET object"] == shop.server.counts[f"GET {FOLDER}/increment.meta"] == 1
    assert shop.server.counts["HEAD object"] == 0
    assert shop.server.counts["list"] < count / 500


# Faults of the storage

BURST = [Fault("error", 503, "ServiceUnavailable")] * 3
REFUSED = {
    "missing": ("PictureError", "no such object"),
    "forbidden": ("AccessDenied", "no permission to read this object"),
    "archived": ("PictureError", "archived"),
    "always-cut": ("InternalOssError", "damaged"),
    "always-crc": ("InternalOssError", "CRC-64"),
    "always-503": ("InternalOssError", "503"),
    "always-reset": ("NetworkException", "connection"),
    "trickle": ("TimeoutForTransferImage", "in 8 s"),
    "large": ("InvalidPicContent", "8,388,608"),
}


@pytest.mark.extended
def test_faults_of_the_storage(shop: Shop, folder: Path) -> None:
    """Transient ones pass unnoticed; objects that cannot be had fail by themselves; all other lines are done."""
    passing = {
        "burst": BURST,
        "reset": [Fault("reset")] * 2,
        "cut": [Fault("cut")] * 2,
        "crc": [Fault("crc")] * 2,
        "slow": [Fault("slow", seconds=1.0)],
        "internal": [
            Fault("error", 500, "InternalError"),
            Fault("error", 400, "RequestTimeout"),
            Fault("error", 429, ""),
        ],
        "expired": [Fault("error", 403, "SecurityTokenExpired")],
    }
    failing = {
        "forbidden": [Fault("error", 403, "AccessDenied")],
        "archived": [Fault("error", 403, "InvalidObjectState")],
        "always-cut": [Fault("cut")] * 9,
        "always-crc": [Fault("crc")] * 9,
        "always-503": [Fault("error")] * 9,
        "always-reset": [Fault("reset")] * 9,
        "trickle": [Fault("slow", seconds=60.0)],
    }
    names = copy_samples(shop.folder, 20)
    for name in [*passing, *failing]:
        (shop.folder / f"{name}.jpg").write_bytes((shop.folder / names[0]).read_bytes() + name.encode())
    (shop.folder / "large.jpg").write_bytes(bytes(8 * 2**20))
    odd = [f"{name}.jpg" for name in [*passing, *REFUSED]]
    shop.write([line(name) for name in [*odd, *names]])
    shop.server.faults = {f"{FOLDER}/{name}.jpg": list(faults) for name, faults in {**passing, **failing}.items()}
    shop.server.roles[ARN] = Role()
    report, log = folder.parent / "failed.jsonl", folder.parent / "log"
    result = shop.run(folder, "--role-arn", ARN, "--sts-endpoint", shop.server.url, "--timeout", 8,
                      "--report", report, "--log-file", log)  # fmt: skip
    assert result.returncode == 1, result.stderr
    assert counts(result.document) == (20 + len(passing), 0, 0, 0, len(REFUSED))
    failures = [json.loads(text) for text in report.read_text().splitlines()]
    assert failures == result.document["Failures"]
    assert {failure["PicName"]: failure["Code"] for failure in failures} == {
        f"{name}.jpg": code for name, (code, _) in REFUSED.items()
    }
    for failure in failures:
        assert REFUSED[failure["PicName"].removesuffix(".jpg")][1] in failure["Message"]
        number = int(failure["Source"].rpartition(":")[2])
        assert failure["PicName"] == odd[number - 1]
        assert f"{failure['Source']}: {failure['Message']}" in log.read_text()
    assert shop.server.fetched.count(f"{FOLDER}/large.jpg") == 0, "refused by its header"
    assert shop.server.counts["AssumeRole"] == 2, "the refused token was renewed once"
    assert "retrying" in log.read_text()
    shop.server.faults = {}
    again = shop.run(folder, "--timeout", 8)
    assert counts(again.document) == (len(failing), 0, 20 + len(passing), 0, 2)


@pytest.mark.extended
def test_an_expired_token_that_cannot_be_renewed_ends_the_import(shop: Shop, folder: Path) -> None:
    """Exit code 7; what was done is kept, and with a new token the import goes on from there."""
    names = copy_samples(shop.folder, 90)
    shop.write([line(name) for name in names])
    keys = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "STS.a", "ALIBABA_CLOUD_SECURITY_TOKEN": "token"}
    shop.server.keys["STS.a"] = Key(SECRET, "token", uses=60)
    result = shop.run(folder, "--format", "jsonl", "--downloads", 4, **keys)
    assert (result.returncode, result.lines[-1]["Code"]) == (7, "SecurityTokenExpired")
    done = sum(document.get("Status") == "added" for document in result.lines)
    assert 0 < done < 60
    before = shop.downloads()
    shop.server.keys["STS.a"].uses = 1000
    result = shop.run(folder, **keys)
    assert counts(result.document) == (90 - done, 0, done, 0, 0)
    assert shop.downloads() - before == 90 - done


@pytest.mark.extended
def test_tokens_of_a_role_are_renewed_before_they_expire(shop: Shop, folder: Path) -> None:
    """Tokens with so short a life that each is stale at once: every one is used while it is fresh."""
    names = copy_samples(shop.folder, 40)
    shop.write([line(name) for name in names])
    shop.server.roles[ARN] = Role(seconds=15 * 60 + 1)  # the library renews a quarter of an hour before
    shop.server.latency = 0.1
    result = shop.run(folder, "--role-arn", ARN, "--sts-endpoint", shop.server.url, "--downloads", 2)
    assert (result.returncode, counts(result.document)) == (0, (40, 0, 0, 0, 0)), result.stderr
    assert shop.server.counts["AssumeRole"] > 1


@pytest.mark.extended
def test_a_storage_that_went_away_ends_the_import(shop: Shop, folder: Path) -> None:
    """Not each of a million lines waits for it: after 50 failures in a row the import ends with exit code 7."""
    names = copy_samples(shop.folder, 90)
    shop.write([line(name) for name in names])
    shop.server.faults = {f"{FOLDER}/{name}": [Fault("error")] * 9 for name in names[10:]}
    result = shop.run(folder, "--timeout", 1, "--format", "jsonl")
    assert (result.returncode, result.lines[-1]["Code"]) == (7, "NetworkException")
    assert [document["Status"] for document in result.lines[:10]] == ["added"] * 10


# Access


@pytest.mark.extended
@pytest.mark.parametrize(
    "way", ["OSS variables", "OSS variables with a token", "profile file", "profile with a role", "role", "machine"]
)
def test_ways_to_keys(shop: Shop, folder: Path, way: str) -> None:
    """Each place where keys can be found, down to the request that is signed with them."""
    (name,) = copy_samples(shop.folder, 1)
    shop.write([line(name)])
    none = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": ""}
    shop.server.roles = {ARN: Role(), "machine-role": Role()}
    arguments: list[object] = []
    home = Path(shop.environment["HOME"])
    match way:
        case "OSS variables":
            none |= {"OSS_ACCESS_KEY_ID": KEY_ID, "OSS_ACCESS_KEY_SECRET": SECRET}
        case "OSS variables with a token":
            shop.server.keys["STS.x"] = Key("other-secret", "a-token")
            none |= {
                "OSS_ACCESS_KEY_ID": "STS.x",
                "OSS_ACCESS_KEY_SECRET": "other-secret",
                "OSS_SESSION_TOKEN": "a-token",
            }
        case "profile file" | "profile with a role":
            (home / ".alibabacloud").mkdir()
            keys = f"[default]\ntype = access_key\naccess_key_id = {KEY_ID}\naccess_key_secret = {SECRET}\n"
            (home / ".alibabacloud" / "credentials.ini").write_text(keys)
            if way == "profile with a role":
                arguments = ["--role-arn", ARN, "--sts-endpoint", shop.server.url]
        case "role":
            none = {}
            arguments = ["--role-arn", ARN, "--sts-endpoint", shop.server.url]
        case "machine":
            shop.server.machine_role = "machine-role"
            none |= {
                "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "false",
                "http_proxy": shop.server.url,
                "no_proxy": "127.0.0.1",
            }
    result = shop.run(folder, *arguments, **none)
    assert (result.returncode, counts(result.document)) == (0, (1, 0, 0, 0, 0)), result.stderr
    assert shop.server.counts["AssumeRole"] == ("role" in way)
    assert (shop.server.counts["metadata"] > 0) == (way == "machine")


@pytest.mark.extended
def test_a_netrc_for_any_host_does_not_replace_the_signature(shop: Shop, folder: Path) -> None:
    """Some people keep passwords of all hosts there, and requests would send them."""
    (name,) = copy_samples(shop.folder, 1)
    shop.write([line(name)])
    netrc = Path(shop.environment["HOME"]) / ".netrc"
    netrc.write_text("default login somebody password something\n")
    netrc.chmod(0o600)
    assert shop.run(folder).returncode == 0


@pytest.mark.extended
def test_the_explained_policy_is_enough_and_not_more_than_needed(shop: Shop, run: Run, folder: Path) -> None:
    """What is printed allows the import; without any of its statements it is refused, or told to be slower."""
    names = copy_samples(shop.folder, 3)
    shop.write([line(name) for name in names])
    shop.server.put(BUCKET, "other/secret.jpg", b"x")
    printed = run("oss-import", ADDRESS, "--explain-policy")
    assert (printed.returncode, printed.stderr) == (0, "")
    policy = printed.document
    shop.server.keys[KEY_ID].policy = policy
    assert shop.run(folder).returncode == 0
    assert shop.run(folder).document["Unchanged"] == 3
    for number, statement in enumerate(policy["Statement"]):
        rest = [other for index, other in enumerate(policy["Statement"]) if index != number]
        shop.server.keys[KEY_ID].policy = {"Statement": rest}
        result = shop.run(folder)
        if statement["Action"] == [LIST_OBJECTS]:  # an optimisation
            assert (result.returncode, result.document["Unchanged"]) == (0, 3)
        else:
            assert (result.returncode, result.document["Code"]) == (7, "AccessDenied")
        assert statement["Action"][0] in result.stderr
    assert "BUCKET/PATH/*" in run("oss-import", "--explain-policy").stdout
    root = run("oss-import", f"oss://{BUCKET}", "--explain-policy").document
    assert [statement["Resource"][0].rpartition(":")[2] for statement in root["Statement"]] == [
        BUCKET,
        BUCKET,
        f"{BUCKET}/*",
    ]


@pytest.mark.extended
def test_the_root_of_a_bucket(shop: Shop, run: Run, folder: Path) -> None:
    """``oss://BUCKET`` and ``oss://BUCKET/`` are the whole bucket."""
    (name,) = copy_samples(shop.folder, 1)
    shop.write([])
    data = shop.server.buckets[BUCKET][f"{FOLDER}/{name}"].data
    shop.server.put(BUCKET, "a b+ü%2F.jpg", data)
    shop.server.put(BUCKET, "increment.meta", json.dumps(line("a b+ü%2F.jpg")).encode())
    for address, expected in ((f"oss://{BUCKET}", (1, 0, 0, 0, 0)), (f"oss://{BUCKET}/", (0, 0, 1, 0, 0))):
        result = run("oss-import", address, env={**shop.server.environment(), "OSS_REGION": "cn-shanghai"})
        assert (result.returncode, counts(result.document)) == (0, expected)


# What cron sees


@pytest.mark.extended
def test_quiet_says_nothing_when_all_is_well(shop: Shop, folder: Path) -> None:
    """Not a byte, but for a new instance; failures are still told."""
    names = copy_samples(shop.folder, 2)
    shop.write([line(names[0], Crop=False, Region="1,50,1,50"), line(names[1])])
    for told in (1, 0):
        result = shop.run(folder, "--quiet", "--log-file", folder.parent / "log")
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (0, "", told)
    shop.write([line("gone.jpg")])
    result = shop.run(folder, "--quiet")
    assert (result.returncode, result.document["Failed"]) == (1, 1), "one line is a batch as well"


@pytest.mark.extended
def test_the_log(shop: Shop, folder: Path) -> None:
    """Runs follow each other, every line with its time, from the command to the exit code."""
    names = copy_samples(shop.folder, 2)
    log = folder.parent / "import.log"
    shop.write([line(names[0]), line("a\nb.jpg")])
    assert shop.run(folder, "--log-file", log).returncode == 1
    shop.write([line(names[0])])
    assert shop.run(folder, "--log-file", log).returncode == 0
    shop.server.keys.clear()
    assert shop.run(folder, "--log-file", log).returncode == 7
    lines = log.read_text().splitlines()
    for text in lines:
        stamp, level, process, *_ = text.split(" ")
        time.strptime(stamp, "%Y-%m-%dT%H:%M:%S%z")
        assert level in {"INFO", "WARNING", "ERROR"}
        assert process.strip("[]").isdigit()
    assert sum("started: imgsearch oss-import" in text for text in lines) == 3
    assert [text.rpartition("ended with exit code ")[2][:1] for text in lines if "ended with" in text] == [
        "1",
        "0",
        "7",
    ]
    assert any("1 added, 1 failed" in text for text in lines)
    assert any("InvalidAccessKeyId" in text for text in lines)


@pytest.mark.parametrize("option", ["--log-file", "--report"])
def test_files_that_cannot_be_written(shop: Shop, folder: Path, option: str) -> None:
    """Told before any work."""
    shop.write([])
    result = shop.run(folder, option, folder.parent / "no" / "file")
    assert (result.returncode, result.document["Code"]) == (2, "BadRequest")
    assert not folder.exists()
    assert not shop.server.counts


@pytest.mark.extended
def test_dry_run_says_what_would_be_done(shop: Shop, folder: Path) -> None:
    """Nothing is written or downloaded; missing and too large objects are told; then the import does just that."""
    names = copy_samples(shop.folder, 6)
    shop.write([line(name) for name in names[:4]])
    result = shop.run(folder, "--dry-run")
    assert (result.returncode, counts(result.document), result.document["DryRun"]) == (0, (4, 0, 0, 0, 0), True)
    assert not folder.exists()
    shop.run(folder)
    before, shop.server.fetched = content(folder), []
    (shop.folder / names[1]).write_bytes((shop.folder / names[1]).read_bytes() + b"changed")
    (shop.folder / "large.jpg").write_bytes(bytes(8 * 2**20))
    deletion = {"OperationType": "DELETE", "ProductId": line(names[3])["ProductId"], "PicName": names[3]}
    shop.write([*(line(name) for name in names[:2]), line(names[2], IntAttr=3), deletion, line(names[4]),
                line("missing.jpg"), line("large.jpg"), "no json"])  # fmt: skip
    dry_run = shop.run(folder, "--dry-run")
    assert shop.downloads() == 0
    assert content(folder) == before
    done = shop.run(folder)
    assert (dry_run.returncode, done.returncode) == (1, 1)
    assert counts(dry_run.document) == counts(done.document) == (1, 2, 1, 1, 3)
    assert dry_run.document["Failures"] == done.document["Failures"]


@pytest.mark.extended
def test_rebuild(shop: Shop, run: Run, folder: Path) -> None:
    """Import and rebuild in one go; refused before any request where there are no items."""
    names = copy_samples(shop.folder, 4)
    shop.write([line(name) for name in names[:2]])
    result = shop.run(folder, "--rebuild")
    assert (result.returncode, result.document["Code"]) == (4, "InstanceStatusError")
    run("init")
    result = shop.run(folder, "--rebuild")
    assert (result.returncode, result.document["Code"]) == (4, "InstanceStatusError")
    assert not shop.server.counts
    first = shop.run(folder)
    assert "Generation" not in first.document
    shop.write([line(name) for name in names])
    result = shop.run(folder, "--rebuild")
    assert (result.returncode, counts(result.document), result.document["Generation"]) == (0, (2, 0, 2, 0, 0), 2)
    index = run("info").document["Index"]
    assert (index["Generation"], index["Items"]) == (2, 4)


@pytest.mark.extended
@pytest.mark.skipif(not postgres_server.is_installed(), reason=postgres_server.MISSING)
@pytest.mark.parametrize("with_index", [False, True], ids=["pgvector", "milvus"])
def test_an_import_into_postgresql_is_that_into_a_folder(
    shop: Shop, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, *, with_index: bool
) -> None:
    """Items, failures and refusals; done again, nothing is downloaded."""
    url = postgres_server.shared_server().url(password=None)
    monkeypatch.setenv("PGPASSWORD", postgres_server.PASSWORD)
    index: tuple[object, ...] = ()
    if with_index:
        if (reason := milvus_server.why_not()) is not None:
            pytest.skip(f"no Milvus: {reason}")
        index = ("--index", f"milvus://127.0.0.1:{milvus_server.shared_server()[1].port}")
    run("init", "--engine", url, *index, "-i", folder / "remote")
    refused = shop.run(folder / "remote", "--rebuild")
    assert (refused.returncode, refused.document["Code"]) == (4, "InstanceStatusError")
    names = copy_samples(shop.folder, 16)
    shop.write(varied(names))
    embedded, remote = (shop.run(folder / name) for name in ("embedded", "remote"))
    assert (embedded.returncode, remote.returncode) == (1, 1), remote.stderr
    assert counts(embedded.document) == counts(remote.document)
    assert embedded.document["Failures"] == remote.document["Failures"]
    assert content(folder / "embedded") == content(folder / "remote")
    shop.write([line(name) for name in names])
    for name in ("embedded", "remote"):
        shop.run(folder / name)
    assert content(folder / "embedded") == content(folder / "remote")
    shop.server.fetched.clear()
    again = shop.run(folder / "remote", "--rebuild")
    assert (again.returncode, counts(again.document)) == (0, (0, 0, len(names), 0, 0))
    info = run("info", "-i", folder / "remote").document
    assert info["Index"]["Generation"] == again.document["Generation"]
    assert shop.downloads() == 0


@pytest.mark.extended
def test_searches_go_on_while_an_import_rebuilds(shop: Shop, run: Run, folder: Path) -> None:
    """They see the old state or the new one, and are never refused."""
    names = copy_samples(shop.folder, 60)
    shop.write([line(name) for name in names[:20]])
    shop.run(folder)
    shop.write([line(name) for name in names])
    process = shop.start(folder, "--rebuild")
    seen = []
    while process.poll() is None:
        result = run(
            "search", "-n", 100, "--product-id", line(names[0])["ProductId"], "--pic-name", names[0], "--any-category"
        )
        assert result.returncode == 0, result.stderr
        assert result.document["Auctions"][0]["Score"] == 1.0
        seen.append(result.document["Head"]["DocsFound"])
    process.communicate()
    assert process.returncode == 0
    assert seen == sorted(seen)
    assert run("info").document["Index"]["Items"] == 60


@pytest.mark.extended
def test_one_import_at_a_time(shop: Shop, run: Run, folder: Path) -> None:
    """The second one ends with exit code 5, names the holder, and has changed nothing."""
    (name,) = copy_samples(shop.folder, 1)
    shop.write([line(name)])
    run("init")
    with writer_lock(folder):
        result = shop.run(folder)
    assert (result.returncode, result.document["Code"]) == (5, "InstanceStatusError")
    assert f"process {os.getpid()}" in result.stderr
    assert run("info").document["TotalCount"] == 0
    assert shop.downloads() == 0
    assert shop.run(folder).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [[], ["/some/folder"], ["https://bucket/path"], [ADDRESS, "extra"], [ADDRESS, "--timeout", "0"]],
    ids=str,
)
def test_wrong_usage(run: Run, folder: Path, arguments: list[str]) -> None:
    """Exit code 2, and nothing is made; so it is without a region and an endpoint."""
    result = run("oss-import", *arguments)
    assert result.returncode == 2
    assert result.stderr
    assert not folder.exists()


@pytest.mark.extended
def test_neither_region_nor_endpoint(run: Run) -> None:
    """The way out is told."""
    result = run("oss-import", ADDRESS)
    assert result.returncode == 2
    assert "--region-id" in result.stderr


# What must never be anywhere


def everything(root: Path, *texts: str) -> bytes:
    """All bytes of all files below a folder, and of what was printed."""
    files = b"\0".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    return files + "\0".join(texts).encode()


@pytest.mark.extended
def test_no_secret_is_printed_logged_or_stored(shop: Shop, folder: Path) -> None:
    """Of a good run, a bad one and one with debugging of the vendor's libraries: keys, secrets and tokens nowhere."""
    names = copy_samples(shop.folder, 3)
    shop.write([line(name) for name in [*names, "missing.jpg"]])
    shop.server.roles = {ARN: Role()}
    printed = []
    for env in ({}, {"DEBUG": "sdk"}, {"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "another-" + SECRET}):
        for arguments in ([], ["--role-arn", ARN, "--sts-endpoint", shop.server.url]):
            result = shop.run(folder, *arguments, "--log-file", folder.parent / "log", **env)
            assert result.returncode == (7 if "ALIBABA_CLOUD_ACCESS_KEY_SECRET" in env else 1)
            printed += [result.stdout, result.stderr]
    found = everything(folder.parent, *printed)
    assert b"started: imgsearch" in found
    for secret in (SECRET, KEY_ID, "temporary-secret", "temporary-token", "STS."):
        assert secret.encode() not in found, secret


@pytest.mark.extended
@pytest.mark.parametrize("address", [f"oss://{KEY_ID}:{SECRET}@{BUCKET}/x", f"oss://{KEY_ID}:{SECRET}@{BUCKET}"])
def test_keys_in_the_address_are_not_repeated(run: Run, folder: Path, tmp_path: Path, address: str) -> None:
    """A habit from other tools: it is refused without being quoted."""
    log = tmp_path / "log"
    result = run("oss-import", address, "--log-file", log)
    assert (result.returncode, result.document["Code"]) == (7, "InvalidBucketName")
    result = run("oss-import", ADDRESS, "--endpoint", f"https://{KEY_ID}:{SECRET}@host", "--log-file", log)
    assert (result.returncode, result.document["Code"]) == (7, "InvalidEndpoint")
    assert SECRET.encode() not in everything(tmp_path, result.stdout, result.stderr)


def test_the_server_is_strict() -> None:
    """What verifies the imports here would notice a wrong CRC-64 and a right that is missing."""
    from tests.oss_server import crc64, is_allowed

    assert crc64(b"123456789") == 0x995DC9BBDF1939FA  # the check value of CRC-64/XZ
    assert is_allowed(ALLOW_ALL, "oss:GetObject", "acs:oss:x:1:b/k", None)
    assert not is_allowed({"Statement": []}, "oss:GetObject", "acs:oss:x:1:b/k", None)


WITHOUT_LISTINGS: dict[str, Callable[[OssServer], object]] = {
    "no right to list": lambda server: setattr(
        server.keys[KEY_ID],
        "policy",
        {"Statement": [{"Effect": "Allow", "Action": ["oss:GetObject", "oss:GetBucketLocation"], "Resource": ["*"]}]},
    ),
    "listings without Type": lambda server: setattr(server, "unlike", "Type"),
    "listings without ETag": lambda server: setattr(server, "unlike", "ETag"),
}


@pytest.mark.extended
@pytest.mark.parametrize("name", WITHOUT_LISTINGS)
def test_without_listings_an_import_goes_object_by_object(shop: Shop, folder: Path, name: str) -> None:
    """Listing is an optimisation: the result is the same, and unchanged pictures are not downloaded again."""
    names = copy_samples(shop.folder, 6)
    shop.write([line(picture) for picture in names[:5]])
    WITHOUT_LISTINGS[name](shop.server)
    dry = shop.run(folder, "--dry-run")
    assert (dry.returncode, dry.document["Added"]) == (0, 5), dry.stderr
    assert shop.downloads() == 0
    first = shop.run(folder)
    assert (first.returncode, counts(first.document)) == (0, (5, 0, 0, 0, 0)), first.stderr
    assert len([said for said in first.stderr.splitlines() if "one by one" in said]) == 1
    (shop.folder / names[0]).write_bytes(jpeg(99))
    shop.write([line(picture) for picture in [*names, "missing.jpg"]])
    WITHOUT_LISTINGS[name](shop.server)
    before = shop.downloads()
    second = shop.run(folder, "--quiet")
    assert (second.returncode, counts(second.document)) == (1, (1, 1, 4, 0, 1)), second.stderr
    assert shop.downloads() - before == 2
    assert "one by one" not in second.stderr
