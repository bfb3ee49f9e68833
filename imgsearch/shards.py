"""Shards: which share of the products is whose, by a hash of ProductId that never changes.

All pictures of a product are of one shard, so several processes, each with a shard of its own, never touch one product.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from imgsearch.errors import UsageError
from imgsearch.types import AddPicture
from imgsearch.values import nfc, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imgsearch.types import Operation

__all__ = ["MAX_SHARDS", "Shard", "shard_of"]

MAX_SHARDS: Final = 65_536
DIGEST_BYTES: Final = 8
WRITTEN: Final = re.compile(r"(\d{1,9})/(\d{1,9})", re.ASCII)


def shard_of(product_id: str, count: int) -> int:
    """The shard of a product: BLAKE2b-64 of its name in UTF-8, read as a big-endian number, modulo ``count``.

    Equal on all machines and in all releases. A name is hashed with composed characters (Unicode NFC), so both ways to
    spell it are of one shard. The salt is ``count`` in decimal digits: otherwise the first four of eight shards would
    look like all of four, and half of a catalogue could be taken for the whole.

    Args:
        product_id: need not be valid.
        count: of shards, 1 or more.
    """
    name = nfc(product_id).encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(name, digest_size=DIGEST_BYTES, salt=str(count).encode()).digest()
    return int.from_bytes(digest, "big") % count


class Shard:
    """One of several shards, and how much was left to the others; the only one by default.

    Args:
        index: 0 to ``count`` - 1.
        count: of shards, 1 to 65,536.

    Raises:
        UsageError: not such numbers.
    """

    def __init__(self, index: int = 0, count: int = 1) -> None:
        numbers = whole_number(index), whole_number(count)
        if numbers[0] is None or numbers[1] is None or not 1 <= numbers[1] <= MAX_SHARDS:
            raise UsageError(f"shard {index}/{count}: there are 1 to {MAX_SHARDS:,} shards")
        if not 0 <= numbers[0] < numbers[1]:
            raise UsageError(f"shard {index}/{count}: shards are counted from 0, so this must be 0 to {count - 1}")
        self.index, self.count = numbers[0], numbers[1]
        self.others = 0
        """How many operations were left to other shards."""

    def __repr__(self) -> str:
        return f"Shard({self.index}, {self.count})"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse ``I/N``.

        Raises:
            UsageError
        """
        match = WRITTEN.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"shard {text[:40]!r} is not I/N, such as 0/8: the first of eight")
        return cls(int(match[1]), int(match[2]))

    @property
    def is_whole(self) -> bool:
        """Whether there is no other shard."""
        return self.count == 1

    def owns(self, product_id: str) -> bool:
        """Whether a product is of this shard."""
        return self.count == 1 or shard_of(product_id, self.count) == self.index

    def takes(self, product_id: str | None) -> bool:
        """Whether an operation is of this shard; counts it if it is not.

        Args:
            product_id: that it is about; None: what is about no product is of the first shard, so that it is told once.
        """
        if self.index == 0 if product_id is None else self.owns(product_id):
            return True
        self.others += 1
        return False

    def of(self, operations: Iterable[Operation]) -> Iterator[Operation]:
        """The operations of this shard, in order; the others are counted."""
        for operation in operations:
            if self.takes(operation.key.product_id if isinstance(operation, AddPicture) else operation.product_id):
                yield operation
