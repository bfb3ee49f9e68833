"""Reading forms: urlencoded parameters, and the multipart body of an upload. Everything stays in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import FormParser, parse_options_header

from imgsearch.server.errors import RequestRefused

__all__ = ["MAX_FORM_BYTES", "MAX_UPLOAD_BYTES", "Upload", "parse_pairs", "parse_upload"]

MAX_FORM_BYTES: Final = 8 * 1024 * 1024
MAX_UPLOAD_BYTES: Final = MAX_FORM_BYTES + 64 * 1024
MAX_FIELDS: Final = 64
MAX_NAME_BYTES: Final = 128
MAX_VALUE_BYTES: Final = 4096 * 12
"""4,096 characters, of which each may be twelve bytes of a form."""
PICTURES: Final = frozenset({"PicContent", "PrimaryPicContent", "SecondaryPicContent"})
"""Fields as large as the form may be."""
BASE64_CODES: Final = tuple(
    (code, plain)
    for upper, plain in ((b"%2B", b"+"), (b"%2F", b"/"), (b"%3D", b"="))
    for code in (upper, upper.lower())
)
BEHIND_FILE: Final = "success_action_status"
"""The field that the npm SDK writes behind the file."""
NO_TYPE: Final = b"\r\nContent-Type: \r\n\r\n"
"""The end of the headers that the npm SDK writes for a file."""
TAIL_BYTES: Final = 400
"""As far from the end of a file the boundary is looked for that the npm SDK runs into it."""


def parse_pairs(text: bytes) -> list[tuple[str, str]]:
    """The pairs of a urlencoded form or query, in order.

    The standard library's parser takes a fifth of a second for the picture in a form, holding the GIL; here base64,
    whose codes are three, is decoded by replacement.

    Raises:
        RequestRefused: too many fields, too long a value, or not UTF-8.
    """
    if not text:
        return []
    if text.count(b"&") >= MAX_FIELDS:
        raise _malformed(f"more than {MAX_FIELDS} parameters")
    pairs = []
    for field in text.split(b"&"):
        name, _, value = field.partition(b"=")
        decoded = _decoded(name, MAX_NAME_BYTES, "the name of a parameter")
        limit = MAX_FORM_BYTES if decoded in PICTURES else MAX_VALUE_BYTES
        text_of_value = _decoded(value, limit, repr(decoded))
        if decoded:
            pairs.append((decoded, text_of_value))
    return pairs


def _decoded(raw: bytes, limit: int, name: str) -> str:
    if len(raw) > limit:
        raise _malformed(f"{name} has {len(raw)} bytes; the limit is {limit}")
    value = raw.replace(b"+", b" ")
    if b"%" in value:
        for code, plain in BASE64_CODES:  # none of these can make up another code
            value = value.replace(code, plain)
        value = unquote_to_bytes(value) if b"%" in value else value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise _malformed(f"{name} is not UTF-8") from None


@dataclass(frozen=True, slots=True)
class Upload:
    """A form with one file."""

    fields: dict[str, str]
    file: bytes


def parse_upload(content_type: str, body: bytes) -> Upload:
    """Read the multipart form of an upload.

    The npm SDK (@darabonba/typescript 1.0.5) leaves out the line break between the file and the next boundary, so that
    a parser takes that field for a part of the file; it is cut off. If the file itself ends with a line break, the
    parser takes that for the missing one; it is put back.

    Raises:
        RequestRefused: not a multipart form, malformed, or without a file.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 1 <= len(boundary) <= 200:
        raise _malformed("an upload is a multipart/form-data with a boundary")
    fields: dict[str, str] = {}
    files: list[bytes] = []
    before_file: set[str] = set()

    def on_field(field: Any) -> None:
        name, value = field.field_name or b"", field.value or b""
        if len(fields) >= MAX_FIELDS or len(value) > MAX_VALUE_BYTES:
            raise _malformed(f"more than {MAX_FIELDS} fields, or more than {MAX_VALUE_BYTES} bytes in one")
        if name.decode() in fields:
            raise _malformed(f"the field {name.decode()[:40]!r} is there twice")
        fields[name.decode()] = value.decode()

    def on_file(file: Any) -> None:
        if files:
            raise _malformed("more than one file; an upload is one")
        file.file_object.seek(0)
        files.append(file.file_object.read())
        file.close()
        before_file.update(fields)

    try:
        parser = FormParser("multipart/form-data", on_field, on_file, boundary=boundary, config=_IN_MEMORY)
        parser.write(body)
        parser.finalize()
    except (FormParserError, UnicodeDecodeError) as error:
        raise _malformed(f"the multipart form cannot be read ({error})") from None
    if not files:
        raise _malformed("the form has no file")
    if BEHIND_FILE in fields.keys() - before_file and NO_TYPE in body:
        del fields[BEHIND_FILE]
        return Upload(fields, files[0] + b"\r\n")
    return Upload(fields, _without_boundary(files[0], boundary))


_IN_MEMORY: Final = {"MAX_MEMORY_FILE_SIZE": float("inf")}  # no picture is ever on the disk


def _without_boundary(file: bytes, boundary: bytes) -> bytes:
    mark = b"--" + boundary + b'\r\nContent-Disposition: form-data; name="%b"' % BEHIND_FILE.encode()
    place = file.rfind(mark, max(0, len(file) - TAIL_BYTES))
    return file if place < 0 else file[:place]


def _malformed(message: str) -> RequestRefused:
    return RequestRefused(f"malformed request: {message}", code="BadRequest")
