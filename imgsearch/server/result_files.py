"""Results of tasks as files behind signed links, each for two hours."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from typing import TYPE_CHECKING, Final

from imgsearch.durable_fs import file_errors, make_private_folder, private_opener
from imgsearch.server.errors import RequestRefused

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["ResultFiles"]

KEPT_SECONDS: Final = 2 * 60 * 60
NAME: Final = re.compile(r"[a-z]+-[0-9]+-[0-9a-f]{16}\.jsonl")


class ResultFiles:
    """The files of one folder; thread-safe.

    Args:
        folder: made if missing; files that have expired are removed.

    Raises:
        StorageUnwritable
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._secret = secrets.token_bytes(32)
        with file_errors(folder):
            make_private_folder(folder)
        self.remove_expired()

    def create(self, name: str) -> tuple[str, BinaryIO]:
        """A new file, readable by its owner only, and its complete name.

        Raises:
            StorageFull, StorageUnwritable
        """
        self.remove_expired()
        complete = f"{name}-{secrets.token_hex(8)}.jsonl"
        assert NAME.fullmatch(complete), complete
        with file_errors(self._folder):
            return complete, open(self._folder / complete, "xb", opener=private_opener)

    def errors(self) -> AbstractContextManager[None]:
        """Translate errors of writing the files.

        Raises:
            StorageFull, StorageUnwritable
        """
        return file_errors(self._folder)

    def remove_expired(self) -> None:
        """Remove what is older than two hours."""
        with file_errors(self._folder):
            for path in self._folder.glob("*.jsonl"):
                if NAME.fullmatch(path.name) and path.stat().st_mtime < time.time() - KEPT_SECONDS:
                    path.unlink(missing_ok=True)

    def link(self, name: str | None, base: str) -> str:
        """A link to a file below ``base``; empty without a file, or when it has expired."""
        path = None if name is None else self._folder / name
        if path is None or not path.exists():
            return ""
        expires = int(path.stat().st_mtime) + KEPT_SECONDS
        return f"{base}/files/{name}?Expires={expires}&Signature={self._signature(path.name, str(expires))}"

    def find(self, name: str, expires: str, signature: str) -> Path:
        """The file of a link.

        Raises:
            RequestRefused: the link is not one of ours, or has expired.
        """
        valid = hmac.compare_digest(self._signature(name, expires).encode(), signature.encode())
        path = self._folder / name
        if not valid or not NAME.fullmatch(name) or int(expires) < time.time() or not path.exists():
            raise RequestRefused("the link is not valid, or has expired", code="AccessDenied", status=403)
        return path

    def _signature(self, name: str, expires: str) -> str:
        return hmac.new(self._secret, f"{name}\n{expires}".encode(), hashlib.sha256).hexdigest()
