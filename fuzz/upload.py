"""``parse_upload`` and ``Uploads``: a multipart body becomes a picture that has a ticket, or is refused.

An input is the content type, a line break, and the body.
"""

from __future__ import annotations

from typing import Any, Final

from fuzz.checks import check_error
from imgsearch.server.errors import RequestRefused
from imgsearch.server.forms import MAX_FIELDS, parse_upload
from imgsearch.server.uploads import Uploads, received_document, split_host

HOST: Final = "127.0.0.1:8080"
BOUNDARY: Final = "---b"


def _uploads() -> Uploads:
    """The same tickets in each process, and a clock that stands."""
    made = Uploads(clock=lambda: 1_000.0, max_bytes=10_000)
    made._secret = bytes(32)  # noqa: SLF001  # seeds are made in another process
    return made


def seeds() -> list[bytes]:
    """Uploads as the SDKs send them: with the line break before the last boundary, and without."""
    ticket = _uploads().ticket("k", HOST, plain=True)
    found = [form(ticket), form(ticket, before_last=""), form(ticket, line="\n"), form({**ticket, "Signature": "no"})]
    late = Uploads(clock=lambda: 0.0)
    late._secret = bytes(32)  # noqa: SLF001
    return [*found, form(late.ticket("k", HOST, plain=False)), form(ticket, twice=True), form(ticket, last="--")]


def form(
    ticket: dict[str, Any], *, before_last: str = "\r\n", line: str = "\r\n", twice: bool = False, last: str = "--\r\n"
) -> bytes:
    """An input of one upload."""
    fields = {
        "OSSAccessKeyId": ticket["AccessKeyId"],
        "policy": ticket["EncodedPolicy"],
        "Signature": ticket["Signature"],
        "key": ticket["ObjectKey"],
    }
    start = f"--{BOUNDARY}{line}Content-Disposition: form-data; name="
    text = "".join(f'{start}"{name}"{line}{line}{value}{line}' for name, value in fields.items())
    file = f'{start}"file"; filename="a.jpg"{line}Content-Type: image/jpeg{line}{line}\x00picture'
    status = f'{before_last}{start}"success_action_status"{line}{line}201{line}--{BOUNDARY}{last}'
    return f"multipart/form-data; boundary={BOUNDARY}\n{text}{(file + line) * twice}{file}{status}".encode()


def target(data: bytes) -> None:
    content_type, _, body = data.partition(b"\n")
    uploads = _uploads()
    try:
        upload = parse_upload(content_type.decode("latin-1"), body)
        assert len(upload.fields) <= MAX_FIELDS
        assert upload.file in body
        name = uploads.receive(upload)
        assert name == upload.fields["key"]
        assert uploads.find(f"http://{HOST}/{name}?a/b", "k") == upload.file
        assert uploads.kept_bytes == len(upload.file)
        assert name in received_document(HOST, name, upload.file)
        uploads.find(f"http://{HOST}/{name}", "another")
    except RequestRefused as error:
        check_error(error)
    host = content_type.decode("latin-1")
    bucket, endpoint = split_host(host, plain=False)
    assert f"{bucket}.{endpoint}" == host or "." not in host.rstrip(".")
