"""How things look: glyphs, words, charts as text. Pure; knows no widget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from console.snapshot.severity import Severity
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
    spark: str
    """From nothing to full."""
    rising: str
    falling: str


FINE: Final = Glyphs("█", "·", "─", "—", "…", " ▁▂▃▄▅▆▇█", "▲", "▼")
ASCII: Final = Glyphs("#", ".", "-", "-", ".", " .:-=+*#@", "^", "v")


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
        return label(word, self.lang)

    def render(self, text: Text) -> str:
        """Return a message in the chosen language; text from outside as it is."""
        return render(text, self.lang)


def bar(share: float, cells: int, glyphs: Glyphs) -> str:
    """Draw a share from 0 to 1.

    >>> bar(0.5, 4, ASCII), bar(-1, 2, ASCII), bar(7, 2, ASCII)
    ('##..', '..', '##')
    """
    filled = min(cells, max(0, round(share * cells)))
    return glyphs.full * filled + glyphs.empty * (cells - filled)


def spark(points: Sequence[float | None], cells: int, rows: int, glyphs: Glyphs) -> list[str]:
    """Draw a series as columns that stand on zero; what is unknown is left out.

    Args:
        points: oldest first; the newest is drawn to the right.
        cells: width.
        rows: height.
        glyphs: to draw with.

    Returns:
        The lines, from the top.

    >>> spark([0, 1, 2, 4, None], 6, 1, ASCII)
    ['  :=@ ']
    >>> spark([4, 8], 2, 2, ASCII)
    [' @', '@@']
    """
    shown = list(points[-cells:]) if cells > 0 else []
    highest = max((p for p in shown if p is not None), default=0.0)
    steps = len(glyphs.spark) - 1
    lines = []
    for row in range(rows - 1, -1, -1):
        line = " " * (cells - len(shown))
        for point in shown:
            level = 0.0 if not point or not highest else point / highest * rows * steps
            here = min(steps, max(0, math.ceil(level) - row * steps))
            line += glyphs.spark[here]
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
