"""The results of queries, from what was found in their pictures and in the instance."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from imgsearch.search.options import SearchResult

if TYPE_CHECKING:
    from imgsearch.search.ranking import Ranking
    from imgsearch.types import Extracted
    from imgsearch.values import Region

__all__ = ["predicted", "unpredicted"]


def predicted(extracted: Extracted, categories: tuple[int, ...], ranking: Ranking, seconds: float) -> SearchResult:
    """The result of a query with a picture."""
    return SearchResult(
        found=ranking.found,
        left_out=ranking.left_out,
        hits=ranking.hits,
        category_id=extracted.category_id,
        confidence=extracted.chances[0][1] if extracted.chances else None,
        searched_categories=categories,
        region=extracted.region,
        subjects=extracted.subjects or (extracted.region,),
        seconds=seconds,
        warning=extracted.warning,
    )


def unpredicted(
    ranking: Ranking, category: int | None, categories: tuple[int, ...], region: Region | None, begun: float
) -> SearchResult:
    """The result of a query without a picture, begun at that time of ``time.perf_counter``."""
    return SearchResult(
        found=ranking.found,
        left_out=ranking.left_out,
        hits=ranking.hits,
        category_id=category,
        confidence=None,
        searched_categories=categories,
        region=region,
        subjects=() if region is None else (region,),
        seconds=time.perf_counter() - begun,
    )
