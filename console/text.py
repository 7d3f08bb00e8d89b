"""Text from outside without terminal control characters, and numbers in a readable form."""

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


_ESCAPES: Final = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])|\x9b[0-?]*[ -/]*[@-~]"
)


def without_escapes(text: str) -> str:
    r"""Return text without the escape codes of terminals: colours, titles, links.

    >>> without_escapes("\x1b[1;31mred\x1b[0m \x1b]0;title\x07end")
    'red end'
    """
    return _ESCAPES.sub("", text)


_INITIALS: Final = "g kk n d tt r m b pp s ss - j jj ch k t p h".replace("-", "").split(" ")
_VOWELS: Final = [
    "a",
    "ae",
    "ya",
    "yae",
    "eo",
    "e",
    "yeo",
    "ye",
    "o",
    "wa",
    "wae",
    "oe",
    "yo",
    "u",
    "wo",
    "we",
    "wi",
    "yu",
    "eu",
    "ui",
    "i",
]
_FINALS: Final = [
    "",
    "k",
    "k",
    "k",
    "n",
    "n",
    "n",
    "t",
    "l",
    "k",
    "m",
    "l",
    "l",
    "l",
    "p",
    "l",
    "m",
    "p",
    "p",
    "t",
    "t",
    "ng",
    "t",
    "t",
    "k",
    "t",
    "p",
    "t",
]


def to_ascii(text: str) -> str:
    """Return text in ASCII: Hangul in Latin letters, letters without accents, `?` for the rest.

    >>> to_ascii("김민지 café 日本…"), to_ascii("남궁하늘별")
    ('gimminji cafe ??.', 'namgunghaneulbyeol')
    """
    if text.isascii():
        return text
    return "".join(map(_latin, unicodedata.normalize("NFC", text)))


def _latin(char: str) -> str:
    if char.isascii():
        return char
    at = ord(char) - 0xAC00
    if 0 <= at < 11_172:
        return _INITIALS[at // 588] + _VOWELS[at % 588 // 28] + _FINALS[at % 28]
    if char in _LIKE:
        return _LIKE[char]
    plain = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    return plain[:1] or "?"


_LIKE: Final = {"…": ".", "—": "-", "–": "-", "·": ".", "’": "'", "‘": "'", "“": '"', "”": '"'}


def krw(value: int, lang: str, *, short: bool = False) -> str:
    """Write an amount of KRW with its unit.

    >>> krw(178_641_140, "en"), krw(178_641_140, "ko")
    ('178,641,140 KRW', '178,641,140원')
    >>> krw(178_641_140, "en", short=True), krw(178_641_140, "ko", short=True)
    ('179M KRW', '1.79억원')
    >>> krw(52_340, "ko", short=True), krw(900, "ko", short=True)
    ('5.23만원', '900원')
    """
    if lang != "ko":
        return f"{number(value) if short else f'{value:,}'} KRW"
    if not short or abs(value) < 10_000:
        return f"{value:,}원"
    size_, unit = next(m for m in _MYRIADS if abs(value) >= m[0])
    scaled = value / size_
    digits = 2 if abs(scaled) < 10 else 1 if abs(scaled) < 100 else 0
    return f"{scaled:,.{digits}f}{unit}원"


_MYRIADS: Final = ((10**12, "조"), (10**8, "억"), (10**4, "만"))


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
    """Write a share from 0 to 1; a small one with a digit of its own: it is not nothing.

    >>> percent(0.9871), percent(1.0), percent(0.000264), percent(None)
    ('98.7%', '100.0%', '0.03%', '-')
    """
    if value is None:
        return unknown
    return f"{100 * value:.1g}%" if 1e-5 < value < 0.0005 else f"{100 * value:.1f}%"
