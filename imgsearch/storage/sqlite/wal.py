"""Detecting and correcting bit rot in SQLite's write-ahead log.

Commits stay in ``instance.db-wal`` until a checkpoint moves them into the database, for example after a kill. Each
frame's checksum continues that of the frame before it (https://sqlite.org/fileformat2.html, section 4), and SQLite
treats the first mismatch as the end of the log: one flipped bit would silently drop all later commits. This module
distinguishes damage from the end: a frame is damaged if flipping a single bit makes its checksum match. Frames that a
kill, a power loss or a write in progress leaves incomplete do not become valid that way; and only frames of a complete
commit count. Several flipped bits in one frame are indistinguishable from the end of the log and treated as such.
"""

from __future__ import annotations

import shutil
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np

from imgsearch.storage.sqlite.header import is_header, resembles_header

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["committed_pages", "is_corrupted", "log_of", "write_repaired"]

HEADER: Final = struct.Struct(">IIII8s8s")
"""Magic number, version, size of a page in bytes, number of the checkpoint, salts, checksum of these."""
FRAME: Final = struct.Struct(">II8s8s")
"""Page number, size of the database in pages if the frame ends a commit (else 0), salts, checksum."""
CHECKED_OF_HEADER: Final = 24
CHECKED_OF_FRAME: Final = 8
VERSION: Final = 3_007_000
BYTE_ORDERS: Final = {0x377F0682: "<", 0x377F0683: ">"}
"""By magic number: byte order of the words that the checksum reads; the checksum itself is big-endian."""
BITS: Final = np.arange(32, dtype=np.uint32)

Sum = tuple[int, int]


def log_of(database: Path) -> Path:
    """The path of a database's write-ahead log, whether it exists or not."""
    return database.with_name(f"{database.name}-wal")


def is_corrupted(database: Path) -> bool:
    """Whether a committed frame of the log is corrupted.

    Raises:
        OSError
    """
    return bool(_patches(log_of(database)))


def committed_pages(database: Path) -> int | None:
    """The size of a database in pages after the last commit in its log; None if there is no commit.

    Raises:
        OSError
    """
    walk = _walked(log_of(database))
    return None if walk is None else walk.pages


def write_repaired(database: Path, target: Path) -> None:
    """Copy the log of a database with corrupted bits corrected.

    If two bits are possible, only the frame's checksum is corrected, so that SQLite reads the frame.

    Args:
        database: the database whose log it is.
        target: the new file.

    Raises:
        OSError
    """
    source = log_of(database)
    data = bytearray(source.read_bytes())
    for place, patch in _patches(source).items():
        data[place : place + len(patch)] = patch
    target.write_bytes(data)
    shutil.copymode(source, target)


def _patches(path: Path) -> dict[int, bytes]:
    """Corrections by offset; empty if nothing is corrupted."""
    walk = _walked(path)
    return {} if walk is None else walk.patches


def _walked(path: Path) -> _Walk | None:
    """A pass over a log, to its end; None if there is none."""
    if not path.is_file():  # to open a FIFO would wait for whoever writes it; SQLite says what is wrong
        return None
    try:
        with path.open("rb") as file:
            walk = _Walk(file)
            walk.walk()
            return walk
    except FileNotFoundError:
        return None


@dataclass
class _Walk:
    """One pass over a log, from checksum to checksum."""

    file: BinaryIO
    """Read in pieces, not mapped: another process may truncate it at any time, which then simply ends the log."""
    pages: int | None = None
    """The size of the database after the last commit."""
    patches: dict[int, bytes] = field(default_factory=dict)
    """See ``_patches``."""
    _found: dict[int, bytes] = field(default_factory=dict)
    """Corrections in frames without a commit frame after them so far."""

    def walk(self) -> None:
        """Find out all of it."""
        header = self._header()
        if header is None:
            return
        order, page_bytes, salts, checksum = header
        place, goes_on = HEADER.size, True
        while goes_on:
            place, checksum, goes_on = self._commits(place, order, page_bytes, salts, checksum)
            self._found.clear()

    def _commits(self, place: int, order: str, page_bytes: int, salts: bytes, checksum: Sum) -> tuple[int, Sum, bool]:
        """Walk to the end of the log, frame by frame.

        Args:
            place: the offset of the first frame in bytes.
            order: the byte order.
            page_bytes: the page size.
            salts: of this log.
            checksum: before the first frame.

        Returns:
            The offset behind the last commit, the checksum there once all corrections are applied, and whether that is
            another one than the last frame claims. Then other frames may continue it than those walked: SQLite reads
            them once the log is repaired, so they must be repaired, too.
        """
        claimed = actual = checksum
        behind, corrected, is_other = place, checksum, False
        while True:
            after = self._frame(place, order, page_bytes, salts, claimed, actual)
            if after is None:
                return behind, corrected, is_other
            claimed, actual, pages = after
            place += FRAME.size + page_bytes
            if pages:
                self.pages = pages
                self.patches |= self._found
                behind, corrected, is_other = place, actual, actual != claimed

    def _header(self) -> tuple[str, int, bytes, Sum] | None:
        """Byte order, page size, salts and checksum; None if this is not a log."""
        raw = self._bytes(0, HEADER.size)
        if len(raw) < HEADER.size:
            return None
        stored = _sum_of(raw[CHECKED_OF_HEADER:])
        found: list[tuple[bytes, tuple[str, int, bytes, Sum]]] = []
        for order in BYTE_ORDERS.values():
            checked = raw[:CHECKED_OF_HEADER]
            computed = _checksum(checked, order)
            # In this order: no bit flipped, one of the checked bits, or one of the checksum.
            candidates = [] if computed != stored else [(checked, computed)]
            candidates += [(_with(checked, flip), stored) for flip in _one_bit(checked, order, computed, stored)]
            if _bits(computed, stored) == 1:
                candidates.append((checked, computed))
            for candidate, claimed in candidates:
                magic, version, page_bytes, _, salts, _ = HEADER.unpack(candidate + raw[CHECKED_OF_HEADER:])
                is_size = 512 <= page_bytes <= 65_536 and page_bytes.bit_count() == 1
                plausible = BYTE_ORDERS.get(magic) == order and version == VERSION and is_size
                whole = candidate + struct.pack(">II", *claimed)
                if plausible and whole == raw:
                    return order, page_bytes, salts, claimed
                if plausible and salts == self._bytes(HEADER.size + 8, len(salts)):
                    found.append((whole, (order, page_bytes, salts, claimed)))
        if not found:
            return None
        # The checksum cannot tell the highest bits of words apart, but the first frame can.
        self._found[0], header = next((one for one in found if self._goes_on(HEADER.size, *one[1])), found[0])
        return header

    def _frame(
        self, place: int, order: str, page_bytes: int, salts: bytes, claimed: Sum, actual: Sum
    ) -> tuple[Sum, Sum, int] | None:
        """The checksums after the frame at an offset, and the size of the database; None at the end of the log.

        The size is in pages, and 0 unless the frame ends a commit.

        Args:
            place: the offset in bytes.
            order: the byte order.
            page_bytes: the page size.
            salts: of this log; frames with other salts are left over from an earlier one.
            claimed: the checksum that the frame before claims to have.
            actual: its checksum once all corrections are applied.
        """
        whole = self._bytes(place, FRAME.size + page_bytes)
        if len(whole) < FRAME.size + page_bytes:
            return None
        raw, checked = whole[: FRAME.size], whole[:CHECKED_OF_FRAME] + whole[FRAME.size :]
        stored = _sum_of(raw[16:])
        computed = _checksum(checked, order, claimed)
        if raw[8:16] != salts:
            if computed != stored or (int.from_bytes(raw[8:16]) ^ int.from_bytes(salts)).bit_count() != 1:
                return None
            self._found[place + 8] = salts
        if computed != stored:
            flips = _one_bit(checked, order, computed, stored)
            is_sure = self._goes_on(place + FRAME.size + page_bytes, order, page_bytes, salts, stored)
            likely = [] if _is_likely(checked) else [flip for flip in flips if _is_likely(_with(checked, flip))]
            if likely:
                flips, is_sure = likely, True
            if _bits(computed, stored) == 1 and not (flips and is_sure):
                stored = computed  # the checksum itself is corrupted, or it is ambiguous
            elif len(flips) == 1:
                checked = _with(checked, flips[0])
                at = flips[0][0]
                behind = 0 if at < CHECKED_OF_FRAME else FRAME.size - CHECKED_OF_FRAME
                self._found[place + at + behind] = checked[at : at + 1]
            elif not flips:
                return None
        actual = _checksum(checked, order, actual)
        if actual != _sum_of(raw[16:]):
            self._found[place + 16] = struct.pack(">II", *actual)
        return stored, actual, int.from_bytes(checked[4:8])

    def _goes_on(self, place: int, order: str, page_bytes: int, salts: bytes, claimed: Sum) -> bool:
        """Whether the frame at this offset continues the checksum ``claimed``."""
        whole = self._bytes(place, FRAME.size + page_bytes)
        if len(whole) < FRAME.size + page_bytes or whole[8:16] != salts:
            return False
        checked = whole[:CHECKED_OF_FRAME] + whole[FRAME.size :]
        return _checksum(checked, order, claimed) == _sum_of(whole[16 : FRAME.size])

    def _bytes(self, place: int, count: int) -> bytes:
        """Bytes at an offset; fewer at the end of the file."""
        self.file.seek(place)
        return self.file.read(count)


def _sum_of(raw: bytes) -> Sum:
    first, second = struct.unpack(">II", raw)
    return first, second


def _bits(one: Sum, other: Sum) -> int:
    """The number of bits in which two checksums differ."""
    return (one[0] ^ other[0]).bit_count() + (one[1] ^ other[1]).bit_count()


def _with(data: bytes, flip: tuple[int, int]) -> bytes:
    flipped = bytearray(data)
    flipped[flip[0]] ^= 1 << flip[1]
    return bytes(flipped)


def _is_likely(checked: bytes) -> bool:
    """Whether a frame's page number and content match: only page 1 begins with a database header; page 0 is none.

    Args:
        checked: what the frame's checksum covers.
    """
    number, page = int.from_bytes(checked[:4]), checked[CHECKED_OF_FRAME:]
    return is_header(page) if number == 1 else number > 0 and not resembles_header(page)


# The checksum takes two words at a time: first += second + word; second += first + next word (modulo 2**32). That is
# linear, so each word adds its own share to the result, independently of the others.


@lru_cache(maxsize=4)
def _shares(pairs: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """What the value 1 in each word, and in each initial sum, adds to the checksum.

    Shapes (pairs, 2 words, 2 sums) and (2 initial sums, 2 sums).
    """
    shares = np.zeros((pairs, 2, 2), np.uint32)
    # In the last pair, the first word adds to both sums, the second word to the second sum only.
    of_word: list[Sum] = [(1, 1), (0, 1)]
    of_sum: list[Sum] = [(1, 0), (0, 1)]
    for pair in reversed(range(pairs)):
        shares[pair] = of_word
        of_word = [_step(one) for one in of_word]
    for _ in range(pairs):
        of_sum = [_step(one) for one in of_sum]
    return shares, np.array(of_sum, np.uint32)


def _step(sums: Sum) -> Sum:
    """The sums after two words of value 0."""
    first = (sums[0] + sums[1]) & 0xFFFFFFFF
    return first, (sums[1] + first) & 0xFFFFFFFF


def _words(data: bytes, order: str) -> npt.NDArray[np.uint32]:
    """Shape (pairs, 2)."""
    return np.frombuffer(data, f"{order}u4").astype(np.uint32).reshape(-1, 2)


@lru_cache(maxsize=4)
def _weights(pairs: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32], tuple[Sum, Sum]]:
    """``_shares`` by sum: of all words in a row, shape (2 * pairs,) each, and of the initial sums."""
    shares, of_sums = _shares(pairs)
    first, second = (np.ascontiguousarray(shares[:, :, number].ravel()) for number in range(2))
    (one, two), (three, four) = of_sums.T.tolist()
    return first, second, ((one, two), (three, four))


def _checksum(data: bytes, order: str, before: Sum = (0, 0)) -> Sum:
    words = _words(data, order)
    first, second, (to_first, to_second) = _weights(len(words))
    row = words.ravel()
    # Products of arrays of 32 bits wrap around, as the checksum does.
    return (
        (int(row @ first) + to_first[0] * before[0] + to_first[1] * before[1]) & 0xFFFFFFFF,
        (int(row @ second) + to_second[0] * before[0] + to_second[1] * before[1]) & 0xFFFFFFFF,
    )


def _one_bit(data: bytes, order: str, computed: Sum, stored: Sum) -> list[tuple[int, int]]:
    """Single bits (byte and number in it) any one of which, inverted, makes the checksum what is stored.

    Of the highest bits of words, some cannot be distinguished.
    """
    words = _words(data, order)
    shares, _ = _shares(len(words))
    with np.errstate(over="ignore"):
        missing = np.array(stored, np.uint32) - np.array(computed, np.uint32)
        values = np.uint32(1) << BITS
        # Flipping a set bit subtracts its value.
        changes = np.where(words[:, :, None] & values, np.uint32(0) - values, values).astype(np.uint32)
        fits = (changes[:, :, :, None] * shares[:, :, None, :] == missing).all(axis=3)
    return [
        (8 * pair + 4 * word + (bit // 8 if order == "<" else 3 - bit // 8), bit % 8)
        for pair, word, bit in np.argwhere(fits).tolist()
    ]
