"""``SortExprValues``: the two ranking values that the service returns for a result."""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_RELEVANCE", "relevance", "sort_expr_values"]

MAX_RELEVANCE: Final = 7.33136443711219e24
"""The service's relevance of an identical picture (service.md, section 8.1)."""
RELEVANCE_PER_SCORE: Final = 10.0
"""Relevance of pictures that are not identical: 0 to 10, as the service's published pairs (2.6 to 5.7) suggest."""


def relevance(score: float, *, identical: bool) -> float:
    """The first value: rises with Score, and is MAX_RELEVANCE only for an identical picture."""
    return MAX_RELEVANCE if identical else RELEVANCE_PER_SCORE * score


def sort_expr_values(score: float, distance: int, *, identical: bool) -> str:
    """``relevance;distance`` as the service prints it; an identical picture has distance 0."""
    value = relevance(score, identical=identical)
    return f"{value:.15g};{0 if identical else distance}"
