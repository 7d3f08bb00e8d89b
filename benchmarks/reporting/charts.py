"""Bar charts as SVG: one line a result, the same bytes from the same figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from benchmarks.common import Result

WIDTH: Final = 860
_LABELS: Final = 330
_BARS: Final = 400
_ROW: Final = 24
_TOP: Final = 44
_LOGARITHMIC: Final = 60.0
"""From this ratio of the largest to the smallest on, lengths are logarithmic: else the small ones
could not be told apart."""
_COLOURS: Final = {True: "#3a7d5c", False: "#b5533c", None: "#4a6fa5"}
"""Of a result that meets its goal, misses it, or has none."""


def chart(title: str, results: Sequence[Result]) -> str:
    """Return an SVG with one bar for each result.

    Args:
        title: above the bars.
        results: of one unit, at least one.
    """
    values = [max(0.0, result.value) for result in results]
    positive = [value for value in values if value > 0]
    logarithmic = bool(positive) and max(positive) / min(positive) > _LOGARITHMIC
    height = _TOP + _ROW * len(results) + 12
    scale = " (logarithmic)" if logarithmic else ""
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12" role="img">'
        ),
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="26" font-size="15" fill="#222">{escape(title + scale)}</text>',
    ]
    for i, (result, value) in enumerate(zip(results, values, strict=True)):
        y = _TOP + _ROW * i
        length = _BARS * _share(value, positive, logarithmic=logarithmic)
        text = f"{number(result.value)} {result.unit}".strip()
        lines += [
            (
                f'<text x="{_LABELS - 8}" y="{y + 14}" text-anchor="end" fill="#222">'
                f"{escape(_short(result.name))}</text>"
            ),
            (
                f'<rect x="{_LABELS}" y="{y + 3}" width="{length:.1f}" height="15" rx="2" '
                f'fill="{_COLOURS[result.met]}"/>'
            ),
            f'<text x="{_LABELS + length + 6:.1f}" y="{y + 14}" fill="#444">{escape(text)}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def number(value: float) -> str:
    """Return a figure with three digits at least, and no more than it has.

    >>> [number(x) for x in (78363.4, 431.0, 12.345, 0.6712, 0.0, 0.00123)]
    ['78,363', '431', '12.3', '0.67', '0', '0.0012']
    """
    size = abs(value)
    if size >= 100 or value == round(value):
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.1 else f"{value:.2g}"


def _share(value: float, positive: Sequence[float], *, logarithmic: bool) -> float:
    """Return the length of a bar, 0 to 1."""
    if value <= 0:
        return 0.0
    if not logarithmic:
        return value / max(positive)
    low, high = math.log10(min(positive)) - 0.5, math.log10(max(positive))
    return (math.log10(value) - low) / (high - low)


def _short(name: str, most: int = 52) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
