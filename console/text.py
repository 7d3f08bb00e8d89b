"""Text from outside made fit for a terminal, and numbers made fit for people."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from shop.output import UNFIT

LONGEST: Final = 400


def printable(text: str, longest: int = LONGEST) -> str:
    r"""Return text without anything that a terminal would obey, on one line.

    >>> printable("a\x1b[31mb\tc\n\ud800") == "a\ufffd[31mb c \ufffd"
    True
    >>> printable("한글" * 300, 3)
    '한글…'
    """
    clean = UNFIT.sub("\N{REPLACEMENT CHARACTER}", re.sub(r"[\t\r\n]", " ", text[: longest + 1]))
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def width(text: str) -> int:
    """Return how many cells of a terminal a text takes.

    >>> width("abc"), width("장터"), width("é")
    (3, 4, 1)
    """
    return len(text) if text.isascii() else sum(_cells(c) for c in text)


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fit(text: str, cells: int, *, right: bool = False, more: str = "…") -> str:
    """Cut or pad a text to an exact number of cells.

    >>> fit("장터", 6) + "|", fit("장터 콘솔", 6) + "|", fit("7", 3, right=True)
    ('장터  |', '장터 …|', '  7')
    >>> fit("장터", 3) + "|"
    '장…|'
    """
    taken = width(text)
    if taken > cells:
        kept, used, room = "", 0, cells - width(more)
        for character in text:
            if used + _cells(character) > room:
                break
            kept += character
            used += _cells(character)
        text = kept + more if cells >= width(more) else ""
        taken = width(text)
    padding = " " * max(0, cells - taken)
    return padding + text if right else text + padding


def folded(text: str, cells: int) -> list[str]:
    """Break a text into lines of at most so many cells, wherever that is.

    >>> folded("abcde", 3), folded("장터 콘솔", 5), folded("", 5)
    (['abc', 'de'], ['장터 ', '콘솔'], [''])
    """
    lines, used = [""], 0
    for character in text:
        if used + (needed := _cells(character)) > cells:
            lines.append("")
            used = 0
        lines[-1] += character
        used += needed
    return lines


def number(value: float | None, unknown: str = "-") -> str:
    """Write a count in at most five characters.

    >>> [number(n) for n in (0, 999, 1234, 12_345, 1_234_567, None)]
    ['0', '999', '1.23k', '12.3k', '1.23M', '-']
    >>> number(0.25), number(4.5)
    ('0.25', '4.50')
    """
    if value is None:
        return unknown
    for limit, unit in ((1e3, ""), (1e6, "k"), (1e9, "M"), (1e12, "G"), (1e15, "T")):
        if abs(value) < limit:
            scaled = value / (limit / 1e3)
            if not unit and scaled == int(scaled):
                return str(int(scaled))
            digits = 2 if abs(scaled) < 10 else 1 if abs(scaled) < 100 else 0
            return f"{scaled:.{digits}f}{unit}"
    return f"{value:.0e}"


def size(value: float | None, unknown: str = "-") -> str:
    """Write a number of bytes.

    >>> size(2_621_440), size(10), size(None)
    ('2.5M', '10B', '-')
    """
    if value is None:
        return unknown
    for unit in "BKMG":
        if abs(value) < 1024:
            return f"{value:.0f}B" if unit == "B" else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.1f}T"


def duration(seconds: float | None, unknown: str = "-") -> str:
    """Write a duration in two units at most.

    >>> [duration(s) for s in (0.34, 9.96, 42, 130, 7_380, 200_000, None)]
    ['0.3s', '10s', '42s', '2m10s', '2h03m', '2d07h', '-']
    """
    if seconds is None:
        return unknown
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02}h"


def percent(value: float | None, unknown: str = "-") -> str:
    """Write a share from 0 to 1.

    >>> percent(0.9871), percent(1.0), percent(None)
    ('98.7%', '100.0%', '-')
    """
    return unknown if value is None else f"{100 * value:.1f}%"
