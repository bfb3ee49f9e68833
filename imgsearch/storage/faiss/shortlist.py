"""How many candidates an approximate index hands over, to be ranked by the stored features.

Reading these features takes longer than finding the candidates. So the number that a few hits need is measured when an
index is built, and recorded in the name of its structure: ``IVF4097,RaBitQ,Shortlist200``. Without it, it is the most.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FEW_HITS", "MAX_OF_FEW_HITS", "STEP", "shortlist_of", "size_of", "structure"]

FEW_HITS: Final = 10
"""The number of hits for which recall is measured."""
MAX_OF_FEW_HITS: Final = 400
"""The most candidates for so few hits."""
STEP: Final = 50
"""The number measured is a multiple of this."""
FACTOR: Final = 2
"""Candidates per hit, at least."""
MARK: Final = "Shortlist"


def structure(lists: int, shortlist: int) -> str:
    """The name of an inverted file's structure: FAISS's factory string, then the shortlist of few hits."""
    plain = f"IVF{lists},RaBitQ"
    return plain if shortlist == MAX_OF_FEW_HITS else f"{plain},{MARK}{shortlist}"


def shortlist_of(structure: str) -> int:
    """The shortlist of few hits that the name of a structure tells."""
    _, _, shortlist = structure.partition(f",{MARK}")
    return int(shortlist) if shortlist else MAX_OF_FEW_HITS


def size_of(shortlist: int, hits: int) -> int:
    """How many candidates are taken for so many hits: of more than a few, in proportion up to the most.

    Args:
        shortlist: that of few hits.
        hits: how many are wanted.
    """
    wanted = shortlist * max(hits, FEW_HITS) // FEW_HITS
    return max(min(wanted, MAX_OF_FEW_HITS), FACTOR * hits)
