"""Local manifests in any format: JSON lines or one JSON array, CSV, TSV; pictures are files or behind http(s) links."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal

from imgsearch.errors import ImgsearchError, InvalidManifest, InvalidValue, UnreadableSource
from imgsearch.shards import Shard
from imgsearch.sources.columns import LINK, Columns, canonical, documents_of, feed_fields, is_feed
from imgsearch.sources.files import FilePicture
from imgsearch.sources.http.pictures import HttpPicture, with_tokens
from imgsearch.sources.http.pictures import looked_up as links_looked_up
from imgsearch.sources.json_array import numbered_elements
from imgsearch.sources.jsonl import MAX_LINE_BYTES, json_object, numbered_lines, readable_id
from imgsearch.sources.local import looked_up
from imgsearch.sources.manifest import document_of, operation_of
from imgsearch.sources.tables import DELIMITERS, cells, numbered_rows, text_of
from imgsearch.sources.text_input import beginning, utf8
from imgsearch.types import AddPicture, DeletePictures, Refused
from imgsearch.values import Location

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import ExitStack

    from imgsearch.sources.http.fetcher import Fetcher
    from imgsearch.types import Operation, PictureSource
    from imgsearch.values import Key

__all__ = ["Feed", "FeedOptions", "ManifestFormat"]

ManifestFormat = Literal["auto", "json", "csv", "tsv"]

SCHEME: Final = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
"""How a PicName begins that is a link, of whatever kind."""
HTTP: Final = re.compile(rb"https?:", re.IGNORECASE)
TABLES: Final = frozenset({".csv", ".tsv", ".tab", ".txt"})
MAX_TOLD: Final = 100
"""Unused fields that are told by name."""


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """How a manifest is read."""

    downloads: int
    """Pictures behind links that are downloaded at once."""
    timeout: float
    """Seconds for each, retries included."""
    format: ManifestFormat = "auto"
    by_group: bool = False
    """ProductId is ``item_group_id``, if there is one."""
    allow_private: bool = False
    """Links may lead to addresses that are not public."""


@dataclass(slots=True)
class Feed:
    """The operations of a manifest, in the order of its lines.

    Args:
        path: of it; None: ``stream``.
        stack: keeps files and connections open until the caller closes it.
        options: how it is read.
        tell: called with what is not used of it, once for each.
        stream: its bytes, if it is no file.
        shard: gives the operations of its products only.
    """

    path: Path | None
    stack: ExitStack
    options: FeedOptions
    tell: Callable[[str], object] = lambda _message: None
    stream: BinaryIO | None = None
    shard: Shard = field(default_factory=Shard)
    countable: None = None
    has_links: bool = field(default=False, init=False)
    """Whether there are links in the first lines, or may be; known after ``check``."""
    _folder: Path = field(default=Path(), init=False)
    _lines: Iterator[Operation] | None = field(default=None, init=False)
    _fetcher: Fetcher | None = field(default=None, init=False)
    _told: set[str] = field(default_factory=set, init=False)

    def check(self) -> None:
        """Open it, find out its format, and read the header of a table.

        Raises:
            UnreadableSource: it cannot be opened.
            InvalidManifest: it is no text, or a table without a usable header.
        """
        stream = self.stream
        if self.path is not None:
            try:
                stream = self.stack.enter_context(self.path.open("rb"))
            except OSError as error:
                raise UnreadableSource(f"the manifest {self.path} cannot be read: {error.strerror}") from None
        assert stream is not None
        self._folder = Path.cwd() if self.path is None else self.path.resolve().parent
        whole = utf8(stream, f"the manifest {self._name}")
        # Of one that is being written, only the first lines may be there yet.
        self.has_links = self.path is None or HTTP.search(whole.peek()) is not None
        head, text = beginning(whole, MAX_LINE_BYTES)
        delimiter = self._delimiter(head)
        if delimiter is not None:
            self._lines = self._of_table(text, delimiter)
        elif head.lstrip().startswith(b"["):
            self._lines = self._of_json(numbered_elements(text))
        else:
            self._lines = self._of_json(numbered_lines(text))

    def operations(self, is_stored: Callable[[Key], bool]) -> Iterator[Operation]:
        """The operations, in order; servers are asked whether pictures that are stored have changed.

        Raises:
            InvalidManifest: compressed or encoded text is damaged; what came before remains valid.
        """
        return with_tokens(self._checked(), is_stored, self.options.downloads)

    def dry_run(self, max_bytes: int) -> Iterator[Operation]:
        """The same, after checking that each picture exists and is not too large; reads none.

        Raises:
            InvalidManifest
        """
        return links_looked_up(looked_up(self._checked(), max_bytes), self.options.downloads, max_bytes)

    def _checked(self) -> Iterator[Operation]:
        assert self._lines is not None, "call check first"
        return self.shard.of(self._lines)

    @property
    def _name(self) -> str:
        return "-" if self.path is None else str(self.path)

    def _delimiter(self, head: bytes) -> str | None:
        """The delimiter of a table, told by its first line; None: it is JSON.

        Raises:
            InvalidManifest: it is a table without a header.
        """
        match self.options.format:
            case "csv":
                return _likely_delimiter(head, ",")
            case "tsv":
                return "\t"
            case "json":
                return None
        if head.lstrip().startswith((b"{", b"[")):
            return None
        suffix = "" if self.path is None else Path(self._name.lower().removesuffix(".gz")).suffix
        delimiter = _likely_delimiter(head, "\t" if suffix in (".tsv", ".tab") else ",")
        is_table = suffix in TABLES or head.lower().startswith(b"sep=") or _known_columns(head, delimiter) > 0
        return delimiter if is_table and head.strip() else None

    def _of_json(self, lines: Iterable[tuple[int, bytes | InvalidManifest]]) -> Iterator[Operation]:
        for number, line in lines:
            source = f"{self._name}:{number}"
            if isinstance(line, InvalidManifest):
                yield Refused(source, line)
                continue
            try:
                document = json_object(line)
                if is_feed(document):
                    values, unused = feed_fields(document)
                    self._tell_unused(unused)
                    documents = documents_of(values, by_group=self.options.by_group)
                else:
                    documents = [document_of(document, frozenset({LINK}))]
            except ImgsearchError as error:
                yield Refused(source, error)
                continue
            for one in documents:
                yield self._operation(one, source)

    def _of_table(self, text: BinaryIO, delimiter: str) -> Iterator[Operation]:
        """Read the header now, and the rows when they are asked for.

        Raises:
            InvalidManifest
        """
        rows = numbered_rows(text_of(text), delimiter)
        number, header = next(rows, (1, InvalidManifest("the table has no header")))
        if isinstance(header, InvalidManifest):
            raise InvalidManifest(f"{self._name}:{number}: {header.message}")
        try:
            columns = Columns.of(header)
        except InvalidManifest as error:
            raise InvalidManifest(f"{self._name}:{number}: {error.message}") from None
        self._tell_unused(columns.unused)
        return self._of_rows(rows, columns)

    def _of_rows(
        self, rows: Iterable[tuple[int, list[str] | InvalidManifest]], columns: Columns
    ) -> Iterator[Operation]:
        for number, row in rows:
            source = f"{self._name}:{number}"
            if isinstance(row, InvalidManifest):
                yield Refused(source, row)
                continue
            try:
                documents = documents_of(columns.values(row), by_group=self.options.by_group)
            except ImgsearchError as error:
                yield Refused(source, error)
                continue
            for one in documents:
                yield self._operation(one, source)

    def _tell_unused(self, names: Iterable[str]) -> None:
        """Say once of each field that it is not used."""
        new = sorted({name for name in names if name not in self._told})
        if new and len(self._told) < MAX_TOLD:
            self._told.update(new)
            shown = ", ".join(repr(name[:40]) for name in new[:MAX_TOLD])
            self.tell(f"{self._name}: not used: {shown} (docs/manifest.md lists the fields that are)")

    def _operation(self, document: dict[str, Any], source: str) -> AddPicture | DeletePictures | Refused:
        """The operation of an object, which may name its picture by a link."""
        text = document.pop(LINK, None)
        pic_name = document.get("PicName")
        if text is None and isinstance(pic_name, str) and SCHEME.match(pic_name):
            text, document["PicName"] = pic_name, None
        if text is None:
            return operation_of(document, source, self._beside)
        try:
            if not isinstance(text, str):
                raise InvalidValue(f"{LINK} is not text", code="InvalidPicName")
            picture = self._link(text)
        except ImgsearchError as error:
            return Refused(source, error, readable_id(document, "ProductId"), readable_id(document, "PicName"))
        if document.get("PicName") is None:
            document["PicName"] = picture.link.text
        return operation_of(document, source, lambda _name: (picture, None), is_file=False)

    def _beside(self, name: str) -> tuple[PictureSource, Location | None]:
        """A file beside the manifest; of one on standard input, in the working directory."""
        return FilePicture(self._folder / name), Location(str(self._folder))

    def _link(self, text: str) -> HttpPicture:
        """A picture behind a link.

        Raises:
            InvalidValue
        """
        from imgsearch.sources.http.fetcher import Fetcher
        from imgsearch.sources.http.guard import is_any, is_public
        from imgsearch.sources.http.link import Link

        link = Link.parse(text)
        if self._fetcher is None:
            self._fetcher = self.stack.enter_context(
                Fetcher(
                    downloads=self.options.downloads,
                    timeout=self.options.timeout,
                    is_permitted=is_any if self.options.allow_private else is_public,
                )
            )
        return HttpPicture(self._fetcher, link)


def _likely_delimiter(head: bytes, usual: str) -> str:
    """The delimiter by which the first line falls into most known columns."""
    return max((usual, *DELIMITERS), key=lambda delimiter: _known_columns(head, delimiter))


def _known_columns(head: bytes, delimiter: str) -> int:
    line = head.decode("utf-8", "replace").strip()
    return sum(canonical(cell) is not None for cell in cells(line, delimiter))
