"""Looking at SQLite's write-ahead log for bits that rotted there.

Commits lie in ``instance.db-wal`` until a writer moves them into the database, such as after a kill. Each frame of the
log has a checksum that builds on the one before (https://sqlite.org/fileformat2.html, section 4), and SQLite takes the
first one that does not fit for the end: so an altered bit would take along, in silence, all that was committed behind
it. Here the end is claimed from damage: a frame is damaged if inverting a single bit makes it fit. What a writer leaves
that was killed, or was without power, does not become whole so, nor does what one is about just now; and only what a
commit stands behind counts. More altered bits in one frame look like such an end, and are taken for it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["is_corrupted", "log_of", "write_repaired"]

HEADER: Final = struct.Struct(">IIII8s8s")
"""Magic number, version, size of a page in bytes, number of the checkpoint, salts, checksum of these."""
FRAME: Final = struct.Struct(">II8s8s")
"""Page, size of the database in pages if it ends a commit (else 0), salts, checksum."""
CHECKED_OF_HEADER: Final = 24
CHECKED_OF_FRAME: Final = 8
VERSION: Final = 3_007_000
BYTE_ORDERS: Final = {0x377F0682: "<", 0x377F0683: ">"}
"""By the magic number: in which order the checksum takes bytes for words; its own words are big-endian."""
BITS: Final = np.arange(32, dtype=np.uint32)

Sum = tuple[int, int]


def log_of(database: Path) -> Path:
    """Where the write-ahead log of a database lies, if there is one."""
    return database.with_name(f"{database.name}-wal")


def is_corrupted(database: Path) -> bool:
    """Whether something that was committed to the log is no longer what was written.

    Raises:
        OSError
    """
    return bool(_patches(log_of(database)))


def write_repaired(database: Path, target: Path) -> None:
    """Copy the log of a database, with each frame as it was, or (if two bits could be meant) so that SQLite reads it.

    Args:
        database: whose log it is.
        target: the new file.

    Raises:
        OSError
    """
    source = log_of(database)
    data = bytearray(source.read_bytes())
    for place, patch in _patches(source).items():
        data[place : place + len(patch)] = patch
    target.write_bytes(data)


def _patches(path: Path) -> dict[int, bytes]:
    """What to write where; empty if nothing is altered."""
    try:
        with path.open("rb") as file:
            return _Walk(file).patches()
    except FileNotFoundError:
        return {}


@dataclass
class _Walk:
    """One way through a log, from checksum to checksum."""

    file: BinaryIO
    """Read piece by piece, not mapped: another process may cut it off at any moment, which is no more than its end."""
    _found: dict[int, bytes] = field(default_factory=dict)
    """What is to be written, as far as no commit stands behind it yet."""
    _sure: dict[int, bytes] = field(default_factory=dict)

    def patches(self) -> dict[int, bytes]:
        """See ``_patches``."""
        header = self._header()
        if header is None:
            return {}
        order, page_bytes, salts, claimed = header
        actual = claimed  # what the checksums are once everything altered is written anew
        place = HEADER.size
        while True:
            after = self._frame(place, order, page_bytes, salts, claimed, actual)
            if after is None:
                break
            claimed, actual, ends_commit = after
            if ends_commit:
                self._sure |= self._found
            place += FRAME.size + page_bytes
        return self._sure

    def _header(self) -> tuple[str, int, bytes, Sum] | None:
        """Byte order, size of a page, salts and checksum; None if this is no log."""
        raw = self._bytes(0, HEADER.size)
        if len(raw) < HEADER.size:
            return None
        stored = _sum_of(raw[CHECKED_OF_HEADER:])
        for order in BYTE_ORDERS.values():
            checked = raw[:CHECKED_OF_HEADER]
            computed = _checksum(checked, order)
            # In this order: nothing is altered, one of the bits that are checked, or one of the checksum.
            candidates = [] if computed != stored else [(checked, computed)]
            candidates += [(_with(checked, flip), stored) for flip in _one_bit(checked, order, computed, stored)]
            if _bits(computed, stored) == 1:
                candidates.append((checked, computed))
            for candidate, claimed in candidates:
                magic, version, page_bytes, _, salts, _ = HEADER.unpack(candidate + raw[CHECKED_OF_HEADER:])
                meant = BYTE_ORDERS.get(magic) == order and version == VERSION and 512 <= page_bytes <= 65_536
                whole = candidate + struct.pack(">II", *claimed)
                if meant and (whole == raw or salts == self._bytes(HEADER.size + 8, len(salts))):
                    if whole != raw:
                        self._found[0] = whole
                    return order, page_bytes, salts, claimed
        return None

    def _frame(
        self, place: int, order: str, page_bytes: int, salts: bytes, claimed: Sum, actual: Sum
    ) -> tuple[Sum, Sum, bool] | None:
        """The checksums behind the frame that begins there, and whether it ends a commit; None behind the last one.

        Args:
            place: in bytes.
            order: of bytes.
            page_bytes: size of a page.
            salts: those of this log; frames with others are left from before.
            claimed: the checksum that the frame before says it has.
            actual: the one that it has once everything altered is written anew.
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
            goes_on = self._goes_on(place + FRAME.size + page_bytes, order, page_bytes, salts, stored)
            flips = _one_bit(checked, order, computed, stored)
            if _bits(computed, stored) == 1 and not (flips and goes_on):
                stored = computed  # the checksum itself is altered, or nobody can tell
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
        return stored, actual, bool(int.from_bytes(checked[4:8]))

    def _goes_on(self, place: int, order: str, page_bytes: int, salts: bytes, claimed: Sum) -> bool:
        """Whether the frame that begins there follows one that has the checksum ``claimed``."""
        whole = self._bytes(place, FRAME.size + page_bytes)
        if len(whole) < FRAME.size + page_bytes or whole[8:16] != salts:
            return False
        checked = whole[:CHECKED_OF_FRAME] + whole[FRAME.size :]
        return _checksum(checked, order, claimed) == _sum_of(whole[16 : FRAME.size])

    def _bytes(self, place: int, count: int) -> bytes:
        """What stands there; less at the end of the file."""
        self.file.seek(place)
        return self.file.read(count)


def _sum_of(raw: bytes) -> Sum:
    first, second = struct.unpack(">II", raw)
    return first, second


def _bits(one: Sum, other: Sum) -> int:
    """In how many bits two checksums differ."""
    return (one[0] ^ other[0]).bit_count() + (one[1] ^ other[1]).bit_count()


def _with(data: bytes, flip: tuple[int, int]) -> bytes:
    altered = bytearray(data)
    altered[flip[0]] ^= 1 << flip[1]
    return bytes(altered)


# The checksum takes two words at a time: first += second + word; second += first + next word (modulo 2**32). That is
# linear, so each word has its share in the end, whatever the others are.


@lru_cache(maxsize=4)
def _shares(pairs: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """What one of each word adds to the checksum, shape (pairs, 2 words, 2 sums); and what each sum before adds to it.

    The second has the shape (2 sums before, 2 sums).
    """
    shares = np.zeros((pairs, 2, 2), np.uint32)
    # A word that comes last adds to both sums if it is a first one, else to the second.
    of_word: list[Sum] = [(1, 1), (0, 1)]
    of_sum: list[Sum] = [(1, 0), (0, 1)]
    for pair in reversed(range(pairs)):
        shares[pair] = of_word
        of_word = [_step(one) for one in of_word]
    for _ in range(pairs):
        of_sum = [_step(one) for one in of_sum]
    return shares, np.array(of_sum, np.uint32)


def _step(sums: Sum) -> Sum:
    """What becomes of the sums when two words of 0 are taken in."""
    first = (sums[0] + sums[1]) & 0xFFFFFFFF
    return first, (sums[1] + first) & 0xFFFFFFFF


def _words(data: bytes, order: str) -> npt.NDArray[np.uint32]:
    """Shape (pairs, 2)."""
    return np.frombuffer(data, f"{order}u4").astype(np.uint32).reshape(-1, 2)


def _checksum(data: bytes, order: str, before: Sum = (0, 0)) -> Sum:
    words = _words(data, order)
    shares, of_sums = _shares(len(words))
    with np.errstate(over="ignore"):
        total = (shares * words[:, :, None]).sum(axis=(0, 1), dtype=np.uint32)
        total += (of_sums * np.array(before, np.uint32)[:, None]).sum(axis=0, dtype=np.uint32)
    return int(total[0]), int(total[1])


def _one_bit(data: bytes, order: str, computed: Sum, stored: Sum) -> list[tuple[int, int]]:
    """Bits (byte and number in it) any one of which, inverted, makes the checksum what is stored.

    Of the highest bits of words, some cannot be claimed apart.
    """
    words = _words(data, order)
    shares, _ = _shares(len(words))
    with np.errstate(over="ignore"):
        missing = np.array(stored, np.uint32) - np.array(computed, np.uint32)
        values = np.uint32(1) << BITS
        # A bit that is set was not, so its value is taken away.
        changes = np.where(words[:, :, None] & values, np.uint32(0) - values, values).astype(np.uint32)
        fits = (changes[:, :, :, None] * shares[:, :, None, :] == missing).all(axis=3)
    return [
        (8 * pair + 4 * word + (bit // 8 if order == "<" else 3 - bit // 8), bit % 8)
        for pair, word, bit in np.argwhere(fits).tolist()
    ]
