"""Forms are read as the standard library reads them, within limits, and no picture is ever on the disk."""

from __future__ import annotations

import base64
import tempfile
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3.filepost import encode_multipart_formdata

from imgsearch.server.errors import RequestRefused
from imgsearch.server.forms import (
    MAX_FIELDS,
    MAX_FORM_BYTES,
    MAX_NAME_BYTES,
    MAX_VALUE_BYTES,
    parse_pairs,
    parse_upload,
)
from tests.pictures import jpeg

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
BOUNDARY = "2f8a1c3e5b7d9f"


def code_of(read: Any, *arguments: Any) -> str:
    with pytest.raises(RequestRefused) as refusal:
        read(*arguments)
    assert refusal.value.status == 400
    return refusal.value.code


@given(st.lists(st.tuples(NAMES, TEXT), max_size=12), st.sampled_from([quote_plus, quote]))
def test_pairs_are_those_of_the_standard_library(pairs: list[tuple[str, str]], quoting: Any) -> None:
    """In their order, empty and repeated ones included, whichever way spaces are written."""
    text = urlencode(pairs, quote_via=quoting)
    assert parse_pairs(text.encode()) == parse_qsl(text, keep_blank_values=True) == pairs


@given(st.text("abAB0129%+&=;/~.", max_size=60) | st.text("%2BbFfDd3+aZ=&", max_size=60))
def test_loose_text_is_read_as_the_standard_library_reads_it(text: str) -> None:
    """Codes cut off, percent signs that are none, semicolons; codes of base64 in either case."""
    try:
        expected = parse_qsl(text, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        assert code_of(parse_pairs, text.encode()) == "BadRequest"
        return
    # The standard library keeps the value of a name that is empty, which no SDK sends.
    assert parse_pairs(text.encode()) == [pair for pair in expected if pair[0]]


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    try:
        pairs = parse_pairs(text)
    except RequestRefused:
        return
    assert all(character < "\udc80" or character > "\udfff" for pair in pairs for part in pair for character in part)


@pytest.mark.parametrize("quoting", [quote_plus, lambda text: quote_plus(text).lower().replace("%2b", "%2B")])
def test_a_picture_in_a_form_is_whole(quoting: Any) -> None:
    """Base64 of all bytes, however its codes are written."""
    picture = base64.b64encode(bytes(range(256)) * 64).decode()
    text = "".join(quoting(character) if character in "+/=" else character for character in picture)
    assert parse_pairs(f"PicContent={text}&Num=1".encode()) == [("PicContent", picture), ("Num", "1")]


def test_there_are_limits() -> None:
    """On the number of fields, and the length of names and values but pictures."""
    assert len(parse_pairs("&".join(["a=1"] * MAX_FIELDS).encode())) == MAX_FIELDS
    assert code_of(parse_pairs, "&".join(["a=1"] * (MAX_FIELDS + 1)).encode()) == "BadRequest"
    assert code_of(parse_pairs, b"&" * 1_000_000) == "BadRequest"
    for name in ("CustomContent", "Filter", "Anything"):
        assert len(parse_pairs(f"{name}={'x' * MAX_VALUE_BYTES}".encode())[0][1]) == MAX_VALUE_BYTES
        assert code_of(parse_pairs, f"{name}={'x' * (MAX_VALUE_BYTES + 1)}".encode()) == "BadRequest"
    assert code_of(parse_pairs, b"n" * (MAX_NAME_BYTES + 1) + b"=1") == "BadRequest"
    for name in ("PicContent", "PrimaryPicContent", "SecondaryPicContent"):
        size = MAX_FORM_BYTES - len(name) - 1
        assert len(parse_pairs(f"{name}={'A' * size}".encode())[0][1]) == size


def test_the_longest_custom_content_of_the_service_fits() -> None:
    """4,096 characters, each of the four bytes that UTF-8 needs at most."""
    content = "\U0001f600" * 4096
    assert parse_pairs(f"CustomContent={quote_plus(content)}".encode()) == [("CustomContent", content)]


@pytest.mark.parametrize("raw", ["%FF", "%C3", "%ED%A0%80", "a%80b"])
def test_what_is_not_utf8_is_refused(raw: str) -> None:
    """Lone surrogates included, which nothing could store or send."""
    assert code_of(parse_pairs, f"Filter={raw}".encode()) == "BadRequest"
    assert code_of(parse_pairs, f"{raw}=1".encode()) == "BadRequest"


@pytest.mark.parametrize("value", [b"%FF", b"x" * (MAX_VALUE_BYTES + 1)])
def test_a_refusal_is_one_line(value: bytes) -> None:
    """The name that it tells may have any characters."""
    with pytest.raises(RequestRefused) as refused:
        parse_pairs(b"a%0Ab%1B=" + value)
    assert refused.value.message.isprintable()
    assert "'a\\nb\\x1b'" in refused.value.message


# Uploads


def upload(*fields: tuple[str, Any], boundary: str = BOUNDARY) -> tuple[str, bytes]:
    body, content_type = encode_multipart_formdata(fields, boundary)
    return content_type, body


FIELD_NAMES = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ_", min_size=1, max_size=12)
VALUES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)


@given(fields=st.dictionaries(FIELD_NAMES, VALUES, max_size=6), file=st.binary(max_size=300))
def test_an_upload_is_what_a_real_client_writes(fields: dict[str, str], file: bytes) -> None:
    """The writer of urllib3; the bytes of the file come back as they were."""
    read = parse_upload(*upload(*fields.items(), ("file", ("a ü.jpg", file))))
    assert read.file == file
    assert read.fields == fields


def npm_body(file: bytes, boundary: str = BOUNDARY) -> bytes:
    """The form that @darabonba/typescript 1.0.5 writes: no line break behind the file, another field behind that."""
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="key"\r\n\r\nK\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="picture"\r\nContent-Type: \r\n\r\n'
    ).encode() + file + (
        f'--{boundary}\r\nContent-Disposition: form-data; name="success_action_status"\r\n\r\n201\r\n'
        f"--{boundary}--\r\n"
    ).encode()  # fmt: skip


@given(st.binary(max_size=300) | st.just(jpeg(1)))
@example(b"\r\n")
@example(b"picture\r\n\r\n")
def test_the_form_of_npm_is_repaired(file: bytes) -> None:
    """The file is what was sent, without the boundary that runs into it."""
    read = parse_upload(f"multipart/form-data; boundary={BOUNDARY}", npm_body(file))
    assert read.file == file
    assert read.fields == {"key": "K"}


def test_a_file_before_other_fields_is_as_it_was_sent() -> None:
    """Only the npm SDK leaves out a line break."""
    read = parse_upload(*upload(("file", ("a.jpg", b"PICTURE")), ("success_action_status", "201")))
    assert (read.file, read.fields) == (b"PICTURE", {"success_action_status": "201"})


def test_a_picture_that_holds_the_boundary_elsewhere_is_whole() -> None:
    """Only the end of a file is looked at."""
    mark = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="success_action_status"'.encode()
    file = mark + bytes(500)
    content_type, body = upload(("file", ("a.jpg", b"PICTURE")))
    assert parse_upload(content_type, body.replace(b"PICTURE", file)).file == file


def test_a_large_picture_is_never_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser would put more than a megabyte into a temporary file; here there is none."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a temporary file was asked for")

    for name in ("NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    file = bytes(range(256)) * 4 * 1024 * 7
    assert parse_upload(*upload(("file", ("a.jpg", file)))).file == file


WHOLE = upload(("key", "K"), ("file", ("a.jpg", b"PICTURE")))
HEAD = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=".encode()
MALFORMED = {
    "another type": ("application/json", WHOLE[1]),
    "no boundary": ("multipart/form-data", WHOLE[1]),
    "empty boundary": ("multipart/form-data; boundary=", WHOLE[1]),
    "long boundary": (f"multipart/form-data; boundary={'b' * 201}", WHOLE[1]),
    "another boundary": ("multipart/form-data; boundary=other", WHOLE[1]),
    "nothing": (WHOLE[0], b""),
    "no file": upload(("key", "K")),
    "two files": upload(("file", ("a.jpg", b"A")), ("file", ("b.jpg", b"B"))),
    "cut off in the file": (WHOLE[0], WHOLE[1][: WHOLE[1].index(b"PICTURE") + 3]),
    "cut off in a head": (WHOLE[0], WHOLE[1][: WHOLE[1].index(b"filename")]),
    "binary field name": (WHOLE[0], WHOLE[1].replace(b'name="key"', b'name="\xff"')),
    "binary field": (WHOLE[0], WHOLE[1].replace(b"\r\nK\r\n", b"\r\n\xff\r\n")),
    "field without end": (WHOLE[0], HEAD + b'"key"\r\n\r\nK'),
    "head without colon": (WHOLE[0], WHOLE[1].replace(b"Content-Disposition:", b"Content-Disposition")),
    "no disposition": (WHOLE[0], WHOLE[1].replace(b"Content-Disposition:", b"Content-Composition:")),
    "many fields": upload(*((f"f{number}", "1") for number in range(MAX_FIELDS + 1)), ("file", ("a.jpg", b"A"))),
    "twice": upload(("key", "K"), ("key", "L"), ("file", ("a.jpg", b"A"))),
    "long field": upload(("key", "K" * (MAX_VALUE_BYTES + 1)), ("file", ("a.jpg", b"A"))),
    "long head": (WHOLE[0], WHOLE[1].replace(b'name="key"', b'name="' + b"k" * 100_000 + b'"')),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_upload_is_refused(name: str) -> None:
    assert code_of(parse_upload, *MALFORMED[name]) == "BadRequest"


@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 300))
def test_any_upload_is_read_or_refused(piece: bytes, start: int, length: int) -> None:
    """A whole one with a piece exchanged for other bytes."""
    body = WHOLE[1]
    try:
        parse_upload(WHOLE[0], body[:start] + piece + body[start + length :])
    except RequestRefused as error:
        assert error.code == "BadRequest"  # noqa: PT017  # either is right
