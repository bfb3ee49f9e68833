"""SVG charts for HTML: both axes from 0 to 1, colours from the page, with alternative text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from imgsearch.cli.html_page import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Curve", "Dots", "chart"]

SIDE: Final = 240
"""Side of the plot area, in SVG units."""
LEFT, RIGHT, TOP, BOTTOM = 40, 14, 10, 40
"""Margins for ticks and titles."""
TICKS: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class Curve:
    """Points joined by lines, from left to right."""

    css_class: str
    points: Sequence[tuple[float, float]]
    """Each 0 to 1."""

    def svg(self) -> str:
        """The drawing."""
        points = " ".join(f"{_x(x)},{_y(y)}" for x, y in self.points)
        return f'<polyline class="{self.css_class}" points="{points}"/>'


@dataclass(frozen=True, slots=True)
class Dots:
    """Points."""

    css_class: str
    points: Sequence[tuple[float, float]]
    """Each 0 to 1."""

    def svg(self) -> str:
        """The drawing."""
        return "".join(f'<circle class="{self.css_class}" cx="{_x(x)}" cy="{_y(y)}" r="4"/>' for x, y in self.points)


def chart(
    alternative: str,
    titles: tuple[str, str],
    series: Sequence[Curve | Dots],
    bars: Sequence[tuple[float, float, float]] = (),
) -> str:
    """Draw curves and dots over bars.

    Args:
        alternative: alternative text.
        titles: of the horizontal axis and of the vertical one.
        series: later ones are drawn on top.
        bars: left, right and height of each, 0 to 1.
    """
    drawn = [_grid(), *(_bar(*bar) for bar in bars), *(one.svg() for one in series)]
    across, along = LEFT + SIDE / 2, TOP + SIDE / 2
    drawn.append(f'<text x="{across}" y="{TOP + SIDE + 34}" text-anchor="middle">{shown(titles[0])}</text>')
    drawn.append(f'<text transform="translate(12 {along}) rotate(-90)" text-anchor="middle">{shown(titles[1])}</text>')
    box = f"0 0 {LEFT + SIDE + RIGHT} {TOP + SIDE + BOTTOM}"
    return f'<svg class="chart" role="img" aria-label="{shown(alternative)}" viewBox="{box}">{"".join(drawn)}</svg>'


def _x(value: float) -> float:
    return round(LEFT + SIDE * value, 2)


def _y(value: float) -> float:
    return round(TOP + SIDE * (1 - value), 2)


def _grid() -> str:
    drawn = []
    for tick in TICKS:
        drawn.append(f'<path class="grid" d="M{_x(0)} {_y(tick)}H{_x(1)}M{_x(tick)} {_y(0)}V{_y(1)}"/>')
        drawn.append(f'<text x="{_x(tick)}" y="{_y(0) + 15}" text-anchor="middle">{tick:.1f}</text>')
        drawn.append(f'<text x="{_x(0) - 5}" y="{_y(tick) + 4}" text-anchor="end">{tick:.1f}</text>')
    return "".join(drawn)


def _bar(left: float, right: float, height: float) -> str:
    width = round(_x(right) - _x(left), 2)
    return f'<rect class="bar" x="{_x(left)}" y="{_y(height)}" width="{width}" height="{round(SIDE * height, 2)}"/>'
