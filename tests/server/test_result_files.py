"""Results of tasks: behind links that nobody can make, for two hours, readable by nobody else on the machine."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from imgsearch.errors import StorageUnwritable
from imgsearch.server.errors import RequestRefused
from imgsearch.server.result_files import KEPT_SECONDS, ResultFiles

BASE = "http://127.0.0.1:8080"


def parts(link: str) -> tuple[str, str, str]:
    """Name, Expires and Signature of a link."""
    address = urlsplit(link)
    query = parse_qs(address.query)
    assert address.path.startswith("/files/")
    return address.path.removeprefix("/files/"), query["Expires"][0], query["Signature"][0]


def made(files: ResultFiles, text: bytes = b"{}\n") -> str:
    name, file = files.create("meta-1")
    with file:
        file.write(text)
    return name


def is_refused(files: ResultFiles, *link: str) -> bool:
    with pytest.raises(RequestRefused) as refusal:
        files.find(*link)
    return (refusal.value.code, refusal.value.status) == ("AccessDenied", 403)


def test_a_link_leads_to_its_file(tmp_path: Path) -> None:
    files = ResultFiles(tmp_path / "files")
    name = made(files, b'{"a": 1}\n')
    link = files.link(name, BASE)
    assert link.startswith(f"{BASE}/files/meta-1-")
    path = files.find(*parts(link))
    assert path.read_bytes() == b'{"a": 1}\n'
    assert not stat.S_IMODE(path.stat().st_mode) & 0o077
    assert not stat.S_IMODE((tmp_path / "files").stat().st_mode) & 0o077
    assert made(files) != name, "names cannot be guessed"


def test_other_links_lead_nowhere(tmp_path: Path) -> None:
    files = ResultFiles(tmp_path / "files")
    (tmp_path / "secret.jsonl").write_text("secret")
    name, expires, signature = parts(files.link(made(files), BASE))
    other = made(files)
    for link in (
        (other, expires, signature),
        (name, str(int(expires) + 1), signature),
        (name, expires, signature[:-1]),
        (name, expires, ""),
        (name, expires, "ü"),
        (name, "", signature),
        (name, "soon", signature),
        ("../secret.jsonl", expires, signature),
        ("", "", ""),
        ("\0", expires, signature),
    ):
        assert is_refused(files, *link), link
    assert is_refused(ResultFiles(tmp_path / "files"), name, expires, signature), "of a server that has ended"


def test_even_a_signed_name_is_one_of_ours(tmp_path: Path) -> None:
    """A second lock: whatever is signed, nothing outside the folder is given."""
    files = ResultFiles(tmp_path / "files")
    (tmp_path / "secret.jsonl").write_text("secret")
    expires = str(int(time.time()) + 100)
    for name in ("../secret.jsonl", str(tmp_path / "secret.jsonl"), "meta-1-0.jsonl"):
        assert is_refused(files, name, expires, files._signature(name, expires))


def test_files_expire(tmp_path: Path) -> None:
    """Two hours behind their last change: the link first, then the file."""
    files = ResultFiles(tmp_path)
    name = made(files)
    link = files.link(name, BASE)
    old = time.time() - KEPT_SECONDS - 1
    os.utime(tmp_path / name, (old, old))
    assert is_refused(files, *parts(files.link(name, BASE)))
    (tmp_path / "notes.txt").write_text("not ours")
    os.utime(tmp_path / "notes.txt", (old, old))
    ResultFiles(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert is_refused(files, *parts(link))
    assert files.link(name, BASE) == files.link(None, BASE) == ""


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnwritable):
        ResultFiles(tmp_path / "file" / "files")
