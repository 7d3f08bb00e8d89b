"""Text laid out in the cells of a terminal: Rich measures, cuts and breaks it, as in Textual.

Text is composed (NFC) first: terminals do not agree on how wide a decomposed Hangul syllable is.
"""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len, chop_cells, set_cell_size


def composed(text: str) -> str:
    r"""Return text with each letter and its marks as one character, where there is one.

    >>> len("\u1112\u1161\u11ab"), len(composed("\u1112\u1161\u11ab"))
    (3, 1)
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def width(text: str) -> int:
    r"""Return the number of cells that a text takes.

    >>> width("abc"), width("장터"), width("é"), width("e\u0301")
    (3, 4, 1, 1)
    """
    return cell_len(composed(text))


def fit(text: str, cells: int, *, right: bool = False, more: str = "…") -> str:
    """Cut or pad a text to an exact number of cells.

    >>> fit("장터", 6) + "|", fit("장터 콘솔", 6) + "|", fit("7", 3, right=True)
    ('장터  |', '장터 …|', '  7')
    >>> fit("장터", 3) + "|"
    '장…|'
    >>> fit("장터 콘솔", 4) + "|"
    '장… |'
    """
    text = composed(text)
    if cell_len(text) > cells:
        room = cells - cell_len(more)
        cut = set_cell_size(text, room)
        if not text.startswith(cut):  # padded, as half of a wide character does not fit
            cut = cut[:-1]
        text = cut + more if room >= 0 else ""
    padding = " " * (cells - cell_len(text))
    return padding + text if right else text + padding


def folded(text: str, cells: int) -> list[str]:
    """Break a text into lines of at most a number of cells: after a space, if one is near the end.

    Two cells are the least: a panel not laid out yet has none, and no wide character fits in one.

    >>> folded("abcde", 3), folded("장터 콘솔", 5), folded("", 5)
    (['abc', 'de'], ['장터 ', '콘솔'], [''])
    >>> folded("abc", 0), folded("장터", 1)
    (['ab', 'c'], ['장', '터'])
    >>> folded("price=17 popular", 10)
    ['price=17 ', 'popular']
    """
    lines: list[str] = []
    rest = composed(text)
    while True:
        line, *more = chop_cells(rest, max(2, cells)) or [""]
        if more and (at := line.rfind(" ") + 1) > len(line) // 2:
            line = line[:at]
        lines.append(line)
        if not more:
            return lines
        rest = rest[len(line) :]
