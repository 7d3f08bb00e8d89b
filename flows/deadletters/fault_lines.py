r"""Shows the bytes of a message, with a caret under its fault.

Text is shown as text, with what cannot be printed written as `\x0a` (which JSON does not know,
so that it cannot be mistaken for an escape of the message itself); what is not text is shown as
bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.cells import cell_len

from shop.messages.fault_location import Fault
from shop.output import escape

AROUND: Final = 600
"""Characters shown before and behind the fault of a long message."""
_ROW: Final = 16
_ROWS_AROUND: Final = 8


def plain(data: bytes | None, limit: int = 200) -> str:
    r"""Return bytes on one line, shortened; for keys and tables.

    >>> plain(b"42"), plain(None), plain(b"\xff\x00"), plain(b"abcdef", 3)
    ('42', 'none', '0xff00', 'abc...')
    """
    if data is None:
        return "none"
    head = data[: limit * 4]
    try:
        text = _shown(head.decode(errors="strict" if len(head) == len(data) else "ignore"))
    except UnicodeDecodeError:
        text = f"0x{head.hex()}"
    return text if len(text) <= limit else f"{text[:limit]}..."


def lines(payload: bytes, fault: Fault | None, width: int) -> Iterator[str]:
    """Yield the payload as lines of at most `width` columns, a caret line under the fault."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        yield from hex_lines(payload, fault)
        return
    start = end = 0
    if fault is not None:
        start = len(payload[: fault.start].decode(errors="ignore"))
        end = len(payload[: fault.end].decode(errors="ignore"))
    begin = max(0, start - AROUND)
    if begin:
        yield f"... {len(text[:begin].encode()):,} bytes before"
    stop = min(len(text), max(start, min(end, start + AROUND)) + AROUND)
    yield from _text_lines(text[begin:stop], start - begin, end - begin, fault, width)
    if stop < len(text):
        yield f"... {len(text[stop:].encode()):,} bytes behind"


def _text_lines(text: str, start: int, end: int, fault: Fault | None, width: int) -> Iterator[str]:
    row, marks, used = "", "", 0
    commented = fault is None
    # One more than there is: a fault may be that the text ends.
    for i, character in enumerate([*text, ""]):
        shown = _shown(character)
        columns = cell_len(shown) if character else 1
        if used + columns > width:
            yield row
            if marks.strip():
                yield f"{marks.rstrip()}{_comment(fault, commented=commented)}"
                commented = True
            row, marks, used = "", "", 0
        at_fault = fault is not None and start <= i < max(end, start + 1)
        row += shown
        marks += ("^" if at_fault else " ") * columns
        used += columns
    yield row
    if marks.strip():
        yield f"{marks.rstrip()}{_comment(fault, commented=commented)}"


def _shown(text: str) -> str:
    r"""Return text with what a terminal may not show escaped: odd spaces and unassigned ones, too.

    >>> _shown("a\u3000\u05c8 장")
    'a\\u3000\\u05c8 장'
    """
    text = escape(text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _comment(fault: Fault | None, *, commented: bool) -> str:
    return "" if commented or fault is None else f" {fault.comment}"


def hex_lines(payload: bytes, fault: Fault | None) -> Iterator[str]:
    """Yield rows of sixteen bytes around the fault, and a caret line under it."""
    at = fault.start if fault else 0
    first = max(0, at // _ROW - _ROWS_AROUND) * _ROW
    last = min(len(payload), (at // _ROW + _ROWS_AROUND + 1) * _ROW)
    if first:
        yield f"... {first:,} bytes before"
    for offset in range(first, last, _ROW):
        row = payload[offset : offset + _ROW]
        letters = "".join(chr(b) if 0x20 <= b < 0x7F else "." for b in row)
        yield f"{offset:08x}  {row.hex(' '):<{3 * _ROW - 1}}  |{letters}|"
        if fault is not None and offset <= fault.start < offset + _ROW:
            column = fault.start - offset
            n = min(max(fault.end - fault.start, 1), _ROW - column)
            marks = f"{'':10}{'   ' * column}{' '.join(['^^'] * n)}"
            yield f"{marks} {fault.comment}"
    if last < len(payload):
        yield f"... {len(payload) - last:,} bytes behind"
