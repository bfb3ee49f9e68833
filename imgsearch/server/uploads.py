"""The upload detour of the SDKs: a ticket, a form with the picture, then a link to it. Pictures stay in memory.

The SDKs send a picture to an OSS bucket whose name and host a ticket tells them. Here both are this server, whose host
is cut at its first dot: the SDK joins the two again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape

from imgsearch.server.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from imgsearch.server.forms import Upload

__all__ = ["Uploads", "received_document", "split_host"]

KEPT_SECONDS: Final = 5 * 60
MAX_KEPT_BYTES: Final = 256 * 1024 * 1024
PLAIN_HTTP: Final = "http://"


@dataclass(frozen=True, slots=True)
class _Kept:
    """One picture."""

    data: bytes
    key_id: str
    expires: float


def split_host(host: str, *, plain: bool) -> tuple[str, str]:
    """The Bucket and the Endpoint that an SDK joins to ``Bucket.Endpoint``, which is this host.

    Args:
        host: of the request, with its port.
        plain: the SDK shall use plain HTTP. The Python SDK puts ``https://`` before a host, unless it begins with
            ``http://`` already.
    """
    name, _, rest = host.partition(".")
    if not rest:  # such as localhost:8080
        name, rest = "127", f"0.0.1{host[host.find(':') :] if ':' in host else ''}"
    return (PLAIN_HTTP + name if plain else name), rest


class Uploads:
    """Tickets and the pictures that came with them, oldest out first; thread-safe.

    Args:
        clock: in seconds.
        max_bytes: of all pictures.
    """

    def __init__(self, clock: Callable[[], float] = time.time, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._secret = secrets.token_bytes(32)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    @property
    def kept_bytes(self) -> int:
        """Of all pictures."""
        return self._bytes

    def ticket(self, key_id: str, host: str, *, plain: bool) -> dict[str, Any]:
        """The answer of AuthorizeFileUpload, without its RequestId."""
        bucket, endpoint = split_host(host, plain=plain)
        name = secrets.token_hex(20)
        policy = base64.b64encode(
            json.dumps({"key": name, "id": key_id, "expires": int(self._clock()) + KEPT_SECONDS}).encode()
        ).decode()
        return {
            "AccessKeyId": key_id,
            "Bucket": bucket,
            "Endpoint": endpoint,
            "EncodedPolicy": policy,
            "ObjectKey": name,
            "Signature": self._signature(policy),
            "UseAccelerate": False,
        }

    def receive(self, upload: Upload) -> str:
        """Keep the picture of a form, if its ticket is one of ours.

        Returns:
            The name of the picture.

        Raises:
            RequestRefused: no valid ticket.
        """
        policy = upload.fields.get("policy", "")
        if not hmac.compare_digest(self._signature(policy).encode(), upload.fields.get("Signature", "").encode()):
            raise RequestRefused("the upload has no valid ticket", code="AccessDenied", status=403)
        ticket = json.loads(base64.b64decode(policy))
        if ticket["expires"] < self._clock() or upload.fields.get("key") != ticket["key"]:
            raise RequestRefused(
                "the ticket of the upload has expired, or is another's", code="AccessDenied", status=403
            )
        self._keep(ticket["key"], _Kept(upload.file, ticket["id"], self._clock() + KEPT_SECONDS))
        return str(ticket["key"])

    def _keep(self, name: str, picture: _Kept) -> None:
        with self._lock:
            replaced = self._kept.pop(name, None)
            self._bytes += len(picture.data) - (0 if replaced is None else len(replaced.data))
            self._kept[name] = picture
            self._drop_old()

    def _drop_old(self) -> None:
        now = self._clock()
        while self._kept and (self._bytes > self._max_bytes or next(iter(self._kept.values())).expires < now):
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= len(dropped.data)

    def find(self, link: str, key_id: str) -> bytes:
        """The picture behind a link that an upload was answered with; the link itself is never followed.

        It is kept until it expires, as a client that repeats its request sends the same link.

        Raises:
            RequestRefused: it has not been uploaded with this key, or has expired.
        """
        name = link.partition("?")[0].rpartition("/")[2]
        with self._lock:
            self._drop_old()
            kept = self._kept.get(name)
        if kept is None or kept.key_id != key_id:
            raise RequestRefused(
                f"the picture {link[:200]!r} was not uploaded here within {KEPT_SECONDS // 60} minutes; links are not "
                "followed",
                code="InvalidPicContent",
            )
        return kept.data

    def _signature(self, policy: str) -> str:
        return base64.b64encode(hmac.new(self._secret, policy.encode(), hashlib.sha256).digest()).decode()


def received_document(host: str, name: str, data: bytes) -> str:
    """The XML that OSS answers an upload with (status 201)."""
    bucket, _ = split_host(host, plain=False)
    etag = hashlib.md5(data, usedforsecurity=False).hexdigest().upper()
    location = f"http://{host}/{name}"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<PostResponse><Bucket>{escape(bucket)}</Bucket><ETag>&quot;{etag}&quot;</ETag><Key>{escape(name)}</Key>"
        f"<Location>{escape(location)}</Location></PostResponse>"
    )
