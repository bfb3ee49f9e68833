"""Links: http and https only, without credentials, as requests need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from imgsearch.errors import InvalidValue

__all__ = ["Link"]

PORTS: Final = {"http": 80, "https": 443}
MAX_CHARS: Final = 8192
CODE: Final = "InvalidPicName"


@dataclass(frozen=True, slots=True)
class Link:
    """The address of a picture."""

    text: str
    """As it was given, without a fragment."""
    scheme: str
    host: str
    """In lower case, as ASCII; an IPv6 address in brackets."""
    port: int
    target: str
    """Path and query, percent-encoded."""

    @classmethod
    def parse(cls, text: str) -> Link:
        """Parse an absolute link; messages do not repeat it, as it may hold a password.

        Raises:
            InvalidValue
        """
        text = text.strip().partition("#")[0]
        if len(text) > MAX_CHARS:
            raise InvalidValue(f"the link has {len(text):,} characters; the limit is {MAX_CHARS:,}", code=CODE)
        if not text.isprintable():
            raise InvalidValue("the link has control characters in it", code=CODE)
        try:
            parts = parse_url(text)
        except (LocationParseError, ValueError):  # of which some are plain: a port of 99999999999
            raise InvalidValue("the link is malformed", code=CODE) from None
        if parts.scheme not in PORTS:
            raise InvalidValue("the link begins with neither http:// nor https://", code=CODE)
        if parts.auth is not None:
            raise InvalidValue(
                "the link has a user name or password in it: imgsearch sends none; remove them, or download the "
                "picture and add the file",
                code=CODE,
            )
        if not parts.host:
            raise InvalidValue("the link names no host", code=CODE)
        return cls(text, parts.scheme, parts.host, parts.port or PORTS[parts.scheme], parts.request_uri)

    def joined(self, location: str) -> Link:
        """Where a redirect leads.

        Raises:
            InvalidValue
        """
        try:
            return Link.parse(urljoin(self.url, location))
        except ValueError:
            raise InvalidValue("the link is malformed", code=CODE) from None

    @property
    def origin(self) -> str:
        """Scheme, host and port, as far as it is not the usual one."""
        return f"{self.scheme}://{self.host}" + (f":{self.port}" if self.port != PORTS[self.scheme] else "")

    @property
    def url(self) -> str:
        """The whole, normalised."""
        return self.origin + self.target
