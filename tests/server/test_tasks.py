"""Imports from a bucket and exports, as tasks with state.

Contract: an import leaves what ``oss-import`` leaves; each cause of a failure has its code in IncreaseList; what failed
can be read; one task of a kind works on an instance at a time; the end of a server ends its tasks, and they say so.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import pytest

from imgsearch import Instance
from imgsearch.server import tasks
from imgsearch.server.result_files import ResultFiles
from imgsearch.server.running import Address
from imgsearch.server.start import Settings
from imgsearch.server.tasks import OssAccess
from imgsearch.service.documents import item_document
from tests.oss_server import KEY_ID, SECRET, Key, OssServer
from tests.oss_shop import BUCKET, FOLDER, content, copy_samples, line
from tests.oss_shop import Shop as Bucket
from tests.pictures import jpeg
from tests.server.serving import KEEPER, PATIENCE, Service, serving, write_keys

pytestmark = pytest.mark.networks


@dataclass
class Place:
    """A server whose imports come from a storage service on loopback."""

    base: Path
    bucket: Bucket

    @contextmanager
    def serving(self) -> Iterator[Service]:
        named = {name: self.base / name for name in ("shop", "other")}
        for folder in named.values():
            if not folder.exists():
                Instance.create(folder)
        access = OssAccess(endpoint=self.bucket.server.url)
        settings = Settings(Address("127.0.0.1", 0), self.base / "state", named, keys=write_keys(self.base), oss=access)
        with serving(settings, self.base) as running:
            yield running


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Keys are those of this process, as for the command line."""
    for name in ("bucket", "home"):
        (tmp_path / name).mkdir()
    with OssServer().running() as server:
        own = {"OSS_ACCESS_KEY_ID": KEY_ID, "OSS_ACCESS_KEY_SECRET": SECRET, "HOME": str(tmp_path / "home")}
        for name, value in own.items():
            monkeypatch.setenv(name, value)
        yield Place(tmp_path, Bucket(tmp_path / "bucket", server))


@pytest.fixture
def service(place: Place) -> Iterator[Service]:
    with place.serving() as running:
        yield running


def begin(service: Service, bucket: str = BUCKET, path: str = f"/{FOLDER}", **more: str) -> dict[str, Any]:
    return service.call("IncreaseInstance", None, BucketName=bucket, Path=path, **more)


def imports(service: Service, **query: str) -> list[dict[str, Any]]:
    document = service.call("IncreaseList", None, **query)
    found: list[dict[str, Any]] = document["Data"]["Increments"]["Instance"]
    assert "Success" not in document, "the service has none there"
    return found


def ended(service: Service, listed: Callable[[], list[dict[str, Any]]]) -> dict[str, Any]:
    """The newest task, once its thread has ended."""
    for thread in list(service.parts.api._tasks._threads):
        thread.join(PATIENCE)
        assert not thread.is_alive()
    return listed()[0]


def imported(service: Service, **arguments: str) -> dict[str, Any]:
    """Import, and the task when it has ended."""
    begun = begin(service, **arguments)
    assert begun["Data"]["IncrementStatus"] == "PROCESSING"
    assert begun["Data"]["Id"].isdecimal()
    found = ended(service, lambda: imports(service))
    assert found["Id"] == int(begun["Data"]["Id"])
    return found


def download(service: Service, link: str) -> list[dict[str, Any]]:
    """The lines of a result."""
    assert link.startswith(service.open_url + "/files/"), link
    answer = service.http.get(link)
    assert answer.headers["content-type"] == "application/jsonl"
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.extended
def test_an_import_leaves_what_the_command_leaves(place: Place, service: Service, tmp_path: Path) -> None:
    """The same items; what failed can be read, line by line."""
    names = copy_samples(place.bucket.folder, 6)
    lines = [line(name, CategoryId=3, IntAttr=7, StrAttr="ü") for name in names]
    place.bucket.write([*lines, line("missing.jpg"), "no json", {"OperationType": "DELETE", "ProductId": "none"}])
    found = imported(service, CallbackAddress="http://127.0.0.1:1/never-called")
    assert (found["Status"], found["Code"], found["Msg"]) == ("SUCCESS", "", "success")
    assert (found["BucketName"], found["Path"]) == (BUCKET, f"/{FOLDER}")
    assert found["CallbackAddress"] == "http://127.0.0.1:1/never-called"
    assert int(found["UtcCreate"]) <= found["UtcModified"]
    failures = download(service, found["ErrorUrl"])
    assert sorted(failure["Code"] for failure in failures) == sorted(
        [failure["Code"] for failure in place.bucket.run(tmp_path / "command").document["Failures"]]
    )
    assert [failure["PicName"] for failure in failures if failure["PicName"]] == ["missing.jpg"]
    assert content(place.base / "shop") == content(tmp_path / "command")


def test_an_import_without_failures_has_no_errors_to_read(place: Place, service: Service) -> None:
    """And leaves no file; the same again changes nothing."""
    names = copy_samples(place.bucket.folder, 2)
    place.bucket.write([line(name) for name in names])
    for _ in range(2):
        found = imported(service)
        assert (found["Status"], found["ErrorUrl"]) == ("SUCCESS", "")
    assert service.shop.count() == 2
    assert not list((place.base / "state" / "files").iterdir())


def _empty(server: OssServer) -> None:
    """The bucket has another folder."""
    server.buckets[BUCKET] = {}
    server.put(BUCKET, "elsewhere/readme.txt", b"")


def _without_manifest(server: OssServer) -> None:
    server.buckets[BUCKET] = {}
    server.put(BUCKET, f"{FOLDER}/readme.txt", b"")


def _denied(server: OssServer) -> None:
    server.keys[KEY_ID] = Key(SECRET, policy={"Statement": []})


def _other_secret(server: OssServer) -> None:
    server.keys[KEY_ID] = Key("another")


CAUSES: dict[str, tuple[Callable[[OssServer], object], str]] = {
    "no folder": (_empty, "InvalidPath"),
    "no manifest": (_without_manifest, "NoSuchManifest"),
    "no bucket": (lambda server: server.buckets.clear(), "NoSuchBucket"),
    "no rights": (_denied, "AccessDenied"),
    "wrong secret": (_other_secret, "SignatureDoesNotMatch"),
    "unknown key": (lambda server: server.keys.clear(), "InvalidAccessKeyId"),
}


@pytest.mark.extended
@pytest.mark.parametrize("name", CAUSES)
def test_each_cause_of_a_failure_has_its_code(place: Place, service: Service, name: str) -> None:
    """In the list, as the task has begun by then; without secrets, and with nothing to read."""
    prepare, code = CAUSES[name]
    place.bucket.write([line(copy_samples(place.bucket.folder, 1)[0])])
    prepare(place.bucket.server)
    found = imported(service)
    assert (found["Status"], found["Code"], found["ErrorUrl"]) == ("FAIL", code, "")
    assert found["Msg"]
    assert SECRET not in found["Msg"]
    assert not list((place.base / "state" / "files").iterdir())


@pytest.mark.parametrize(
    ("bucket", "path", "code"),
    [
        ("no bucket", "/x", "InvalidBucketName"),
        ("-abc", "/x", "InvalidBucketName"),
        ("a@b", "/x", "InvalidBucketName"),
        ("abc/def", "/x", "InvalidBucketName"),
        (BUCKET, "/x/../y", "InvalidPath"),
        (BUCKET, "/x//y", "InvalidPath"),
        (BUCKET, "/x/increment.meta", "InvalidPath"),
        (BUCKET, "/a\nb", "InvalidPath"),
        (BUCKET, "/" + "x" * 1024, "InvalidParameter"),
    ],
)
def test_what_is_no_folder_is_refused_at_once(service: Service, bucket: str, path: str, code: str) -> None:
    document = begin(service, bucket, path)
    assert document["Code"] == code
    assert not imports(service)


@pytest.mark.extended
def test_one_import_at_a_time_works_on_an_instance(place: Place, service: Service) -> None:
    """A second is refused; another instance has its own, and an export may run beside it."""
    place.bucket.write([line(name) for name in copy_samples(place.bucket.folder, 1)])
    asked, go_on = Event(), Event()

    def wait(_key: str) -> None:
        asked.set()
        assert go_on.wait(PATIENCE)

    place.bucket.server.on_request = wait
    begin(service)
    assert asked.wait(PATIENCE)
    query = {"InstanceName": "shop", "BucketName": BUCKET, "Path": "/x"}
    refused = service.ask(KEEPER, "IncreaseInstance", query=query)
    assert (refused.status_code, refused.json()["Code"]) == (409, "Console.TaskAlreadyExist")
    assert service.call("DumpMeta")["Data"]["DumpMetaStatus"] == "PROCESSING"
    other = service.call("IncreaseInstance", {"InstanceName": "other"}, BucketName=BUCKET, Path=f"/{FOLDER}")
    assert other["Data"]["IncrementStatus"] == "PROCESSING"
    assert imports(service)[0]["Status"] == "PROCESSING"
    go_on.set()
    assert ended(service, lambda: imports(service))["Status"] == "SUCCESS"
    assert len(imports(service)) == 1
    assert begin(service)["Data"]["IncrementStatus"] == "PROCESSING"


def test_requests_get_their_turn_during_an_import(place: Place, service: Service) -> None:
    """An addition is answered while the import waits for a picture."""
    names = copy_samples(place.bucket.folder, 3)
    place.bucket.write([line(name) for name in names])
    asked, go_on = Event(), Event()

    def wait(key: str) -> None:
        if key.endswith(".jpg"):
            asked.set()
            assert go_on.wait(PATIENCE)

    place.bucket.server.on_request = wait
    begin(service)
    assert asked.wait(PATIENCE)
    picture = base64.b64encode(jpeg(1)).decode()
    added = service.call("AddImage", {"ProductId": "p", "PicName": "a.jpg", "PicContent": picture})
    assert service.call("Detail")["Instance"]["TotalCount"] == 1
    go_on.set()
    assert added["Success"]
    assert ended(service, lambda: imports(service))["Status"] == "SUCCESS"
    assert service.shop.count() == 4


def test_pages_of_the_list(place: Place, service: Service) -> None:
    """By task, bucket and path; the newest first."""
    for bucket, path in (("first-bucket", "/a"), ("other-bucket", "/b"), ("first-bucket", "/c")):
        imported(service, bucket=bucket, path=path)
    numbers = [task["Id"] for task in imports(service)]
    assert numbers == sorted(numbers, reverse=True)
    assert [task["Path"] for task in imports(service, BucketName="first-bucket")] == ["/c", "/a"]
    assert [task["Id"] for task in imports(service, Id=str(numbers[1]))] == [numbers[1]]
    assert [task["Id"] for task in imports(service, PageNumber="2", PageSize="2")] == [numbers[2]]
    document = service.call("IncreaseList", None, PageNumber="9", PageSize="2")
    assert document["Data"]["Increments"]["Instance"] == []
    assert (document["Data"]["TotalCount"], document["Data"]["PageNumber"]) == (3, 9)
    for query in ({"PageNumber": "0"}, {"PageSize": "0"}, {"PageSize": "101"}, {"Id": "x"}, {"PageNumber": "-1"}):
        assert service.call("IncreaseList", None, **query)["Code"] == "InvalidParameter"


def test_an_export_has_all_items_and_no_features(place: Place, service: Service) -> None:
    """As the command line lists them, but for the places of pictures on this machine; through a link for two hours."""
    place.bucket.write([line(name, IntAttr=1) for name in copy_samples(place.bucket.folder, 3)])
    imported(service)
    begun = service.call("DumpMeta")

    def exports() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = service.call("DumpMetaList")["Data"]["DumpMetaList"]
        return found

    found = ended(service, exports)
    assert (found["Id"], found["Status"]) == (int(begun["Data"]["Id"]), "SUCCESS")
    lines = download(service, found["MetaUrl"])
    assert lines == [item_document(item, located=False) for item in service.shop.items()]
    assert len(lines) == 3
    assert not {"Path", "Feature"} & set(lines[0])
    for link in (found["MetaUrl"][:-1], found["MetaUrl"].replace("Expires=1", "Expires=2")):
        answer = service.http.get(link)
        assert (answer.status_code, answer.json()["Code"]) == (403, "AccessDenied")
    bare = urlsplit(found["MetaUrl"])
    assert service.http.get(f"{service.open_url}{bare.path}").status_code == 403


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_an_export_that_a_full_disk_ends_says_so(
    place: Place, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.bucket.write([line(name) for name in copy_samples(place.bucket.folder, 1)])
    imported(service)
    full = open("/dev/full", "wb")  # noqa: SIM115  # the task closes it
    monkeypatch.setattr(ResultFiles, "create", lambda _self, name: (name, full))
    service.call("DumpMeta")
    found = ended(service, lambda: service.call("DumpMetaList")["Data"]["DumpMetaList"])
    assert (found["Status"], found["Code"], found["MetaUrl"]) == ("FAIL", "InstanceOverQuota", "")
    assert "no space left" in found["Msg"]


@pytest.mark.extended
def test_the_end_of_a_server_ends_its_tasks(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of an import: what is committed stays, and the task has failed; the next server goes on."""
    monkeypatch.setattr(tasks, "UNDER_WAY", 4)
    names = copy_samples(place.bucket.folder, 40)
    place.bucket.write([line(name) for name in names])
    asked: Counter[str] = Counter()
    many = Event()
    with place.serving() as service:
        is_ending = service.parts.api._tasks._ending

        def wait(key: str) -> None:
            asked[key] += key.endswith(".jpg")
            if asked.total() > 10:
                many.set()
                assert is_ending.wait(PATIENCE)

        place.bucket.server.on_request = wait
        begin(service)
        assert many.wait(PATIENCE)
    with place.serving() as service:
        (task,) = imports(service)
        assert (task["Status"], task["Code"]) == ("FAIL", "InternalError")
        assert "submit" in task["Msg"]
        assert 0 < service.shop.count() < 40
        assert imported(service)["Status"] == "SUCCESS"
        assert service.shop.count() == 40


def test_what_a_killed_server_left_has_failed(place: Place) -> None:
    """Its task was under way; another one can begin."""
    with place.serving() as service:
        number = service.parts.api._tasks._store.create("import", "shop", bucket=BUCKET, path="/x")  # type: ignore[arg-type]
        shutil.copytree(place.base / "state", place.base / "killed")
    shutil.rmtree(place.base / "state")
    (place.base / "killed").rename(place.base / "state")  # as a kill would have left it
    with place.serving() as service:
        (task,) = imports(service)
        assert (task["Id"], task["Status"], task["Code"]) == (number, "FAIL", "InternalError")
        assert begin(service)["Data"]["IncrementStatus"] == "PROCESSING"
