"""How things look: glyphs, words, charts as text. Pure; knows no widget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from console.snapshot.severity import Severity
from console.text import to_ascii
from console.translations import Lang, Text, label, render

OK: Final = Severity.OK.style
WARN: Final = Severity.WARNING.style
BAD: Final = Severity.ERROR.style
DIM: Final = Severity.UNKNOWN.style
ACCENT: Final = Severity.ACTIVE.style
BOLD: Final = "bold"
BAR: Final = "$primary"


@dataclass(frozen=True)
class Glyphs:
    """Characters; each is one cell wide, and none has an emoji form."""

    full: str
    empty: str
    rule: str
    dash: str
    more: str
    rising: str
    falling: str


FINE: Final = Glyphs("━", "·", "─", "—", "…", "▲", "▼")
ASCII: Final = Glyphs("#", ".", "-", "-", ".", "^", "v")


@dataclass(frozen=True)
class DisplayOptions:
    """Language and glyphs."""

    lang: Lang = "en"
    ascii: bool = False

    @property
    def glyphs(self) -> Glyphs:
        """The characters to draw with."""
        return ASCII if self.ascii else FINE

    def mark(self, severity: Severity) -> str:
        """Return the mark of a severity."""
        return severity.ascii_mark if self.ascii else severity.mark

    def __call__(self, word: str) -> str:
        """Return a label in the chosen language."""
        shown = label(word, self.lang)
        return to_ascii(shown) if self.ascii else shown

    def render(self, text: Text) -> str:
        """Return a message in the chosen language; text from outside as it is."""
        shown = render(text, self.lang)
        return to_ascii(shown) if self.ascii else shown


def bar(share: float, cells: int, glyphs: Glyphs) -> str:
    """Draw a share from 0 to 1.

    >>> bar(0.5, 4, ASCII), bar(-1, 2, ASCII), bar(7, 2, ASCII)
    ('##..', '..', '##')
    """
    filled = min(cells, max(0, round(share * cells)))
    return glyphs.full * filled + glyphs.empty * (cells - filled)


_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille character, by row and column."""


def braille(
    points: Sequence[float | None], cells: int, rows: int, high: float = 0.0, low: float = 0.0
) -> list[str]:
    """Draw a series as a line of braille dots: two points a cell, four heights a row.

    Args:
        points: oldest first, two for each cell; what is unknown is left out.
        cells: width.
        rows: height.
        high: what the top stands for; the highest point where it is less.
        low: what the bottom stands for.

    >>> braille([0, 0, 3, 3], 2, 1, 3), braille([None, None, 1, None], 2, 1)
    (['⣀⡏'], [' ⠁'])
    """
    most = (max([high, *(p for p in points if p is not None)], default=0.0) - low) or 1.0
    grid = [[0] * cells for _ in range(rows)]
    before: int | None = None
    for x, point in enumerate(points[-2 * cells :]):
        if point is None:
            before = None
            continue
        y = round(max(0.0, point - low) / most * (4 * rows - 1))
        first, last = sorted((y, y if before is None else before))
        for dot in range(first, last + 1):
            row = rows - 1 - dot // 4
            grid[row][x // 2] |= _DOTS[3 - dot % 4][x % 2]
        before = y
    return ["".join(chr(0x2800 + bits) if bits else " " for bits in row) for row in grid]


_HEIGHTS: Final = " .:-=+*#@"
"""From nothing to full, in ASCII."""


def columns(
    points: Sequence[float | None], cells: int, rows: int, high: float = 0.0, low: float = 0.0
) -> list[str]:
    """Draw a series as columns of ASCII that stand on zero; what is unknown is left out.

    Args:
        points: oldest first; the newest is drawn to the right.
        cells: width.
        rows: height.
        high: what the top stands for; the highest point where it is less.
        low: what the bottom stands for.

    Returns:
        The lines, from the top.

    >>> columns([0, 1, 2, 4, None], 6, 1)
    ['  :=@ ']
    >>> columns([4, 8], 2, 2)
    [' @', '@@']
    """
    shown = list(points[-cells:]) if cells > 0 else []
    highest = max([high, *(p for p in shown if p is not None)]) - low
    steps = len(_HEIGHTS) - 1
    lines = []
    for row in range(rows - 1, -1, -1):
        line = " " * (cells - len(shown))
        for point in shown:
            level = (point - low) / highest * rows * steps if point and highest > 0 else 0.0
            line += _HEIGHTS[min(steps, max(0, math.ceil(level) - row * steps))]
        lines.append(line)
    return lines


# Of seven segments, as calculators have them: letters of ASCII alone, so that they are everywhere.
_DIGITS: Final = {
    "0": (" _ ", "| |", "|_|"),
    "1": ("   ", "  |", "  |"),
    "2": (" _ ", " _|", "|_ "),
    "3": (" _ ", " _|", " _|"),
    "4": ("   ", "|_|", "  |"),
    "5": (" _ ", "|_ ", " _|"),
    "6": (" _ ", "|_ ", "|_|"),
    "7": (" _ ", "  |", "  |"),
    "8": (" _ ", "|_|", "|_|"),
    "9": (" _ ", "|_|", " _|"),
}


def digits(text: str) -> list[str]:
    """Write a short text in three lines, its digits three cells wide and high.

    >>> [row.rstrip() for row in digits("3.4 s")]
    [' _', ' _|   |_|', ' _| .   |   s']
    """
    return [
        " ".join(_DIGITS[c][row] if c in _DIGITS else c if row == 2 else " " for c in text)
        for row in range(3)
    ]
