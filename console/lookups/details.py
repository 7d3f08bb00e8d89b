"""What a detail is: a title and rows, of which some lead to another detail. Immutable."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from console.lookups import texts
from console.text import printable
from console.translations import Text
from shop.messages.fault_location import Fault

MOST_BYTES: Final = 512
MOST_CHARACTERS: Final = 2_000
"""What is shown of a payload; the longest valid event has 8 KB."""

KINDS: Final = (
    "customer", "score", "order", "product", "grade", "topics", "topic", "messages", "partition",
    "message", "letter", "process", "scenario", "event", "follow", "key", "entry", "refresh",
)  # fmt: skip

KIND_LABELS: Final = {"letter": "dead letter", "refresh": "refresh of the cache"}
"""How an operator calls a thing, where it is not the name of its kind."""


@dataclass(frozen=True)
class Ref:
    """The name of a thing that can be opened.

    Attributes:
        kind: one of `KINDS`.
        key: its id; the parts of a place are separated by slashes, as in `orders/3/17`.
    """

    kind: str
    key: str

    def __str__(self) -> str:
        """Return it as an operator reads it."""
        return f"{self.kind} {self.key}"

    @property
    def place(self) -> tuple[str, int, int]:
        """The topic, partition and offset of a message or a dead letter.

        >>> Ref("message", "orders/3/17").place
        ('orders', 3, 17)
        """
        topic, partition, offset = self.key.split("/")
        return topic, int(partition), int(offset)

    @property
    def browsed(self) -> bool:
        """Whether it is the messages of a topic or of a partition; what was typed may be neither.

        >>> [Ref("partition", key).browsed for key in ("orders/3", "orders", "orders/x", "a/1/2")]
        [True, True, False, False]
        """
        wanted = self.kind in ("messages", "partition")
        return wanted and re.fullmatch(r"[^/]+(/[0-9]+)?", self.key) is not None


@dataclass(frozen=True)
class DetailRow:
    """One row of a detail.

    Attributes:
        label: what it is, in English.
        text: its value, printable, on one line; text from outside, or a message of the console.
        ref: what it leads to.
        wrong: whether it shows a fault.
        marks: the characters at fault, each from the first to the one after the last.
        later: reads the rows that take the place of this one; for a thread of its own. It is passed
            a function that returns whether nobody waits any more.
        heading: whether it is the heading of the rows below it.
        name: whether the label is a name from outside, such as that of a column: it is the same in
            every language.
    """

    label: str
    text: Text = ""
    ref: Ref | None = None
    wrong: bool = False
    marks: tuple[tuple[int, int], ...] = ()
    later: Callable[[Callable[[], bool]], Sequence[DetailRow]] | None = None
    heading: bool = False
    name: bool = False


def heading(label: str) -> DetailRow:
    """Return a heading; where no row comes below it, the screen says so."""
    return DetailRow(label, heading=True)


def named(name: str, text: Text, ref: Ref | None = None) -> DetailRow:
    """Return a row whose label is a name from outside."""
    return DetailRow(printable(name), text, ref, name=True)


@dataclass(frozen=True)
class Detail:
    """Everything that is known of one thing."""

    ref: Ref
    rows: tuple[DetailRow, ...]


def place(topic: str, partition: int, offset: int) -> str:
    """Return the key of a message or a dead letter."""
    return f"{topic}/{partition}/{offset}"


def asked(text: str) -> Ref:
    """Return what an operator who typed this wants to follow.

    >>> asked("873312").kind, asked("order 873312"), asked("orders[3]@17"), asked("VIP").kind
    ('follow', Ref(kind='order', key='873312'), Ref(kind='message', key='orders/3/17'), 'follow')
    >>> asked("a.b-c[3]@17") == asked("a.b-c/3/17") == Ref("message", "a.b-c/3/17")
    True
    """
    text = text.strip()
    for place_as in (r"([\w.-]+)\[(\d+)\]@(\d+)", r"([\w.-]+)/(\d+)/(\d+)"):
        if found := re.fullmatch(place_as, text):
            return Ref("message", "/".join(found.groups()))
    kind, _, key = text.partition(" ")
    if kind in KINDS and key.strip():
        return Ref(kind, key.strip())
    return Ref("follow", text)


def in_hex(data: bytes, fault: Fault | None = None, most: int = MOST_BYTES) -> list[DetailRow]:
    """Return bytes as rows of sixteen: the offset, hexadecimal digits, text, with the fault marked.

    Args:
        data: all of them; of many, those around the fault are shown.
        fault: which bytes are at fault.
        most: number of bytes that are shown.

    >>> [(r.label, r.text) for r in in_hex(b'{"v": 1}')]
    [('0000', '7b22 7622 3a20 317d                      {"v": 1}')]
    >>> in_hex(b"abcd", Fault(1, 3, "x"))[0].marks
    ((2, 7), (42, 44))
    """
    first = _first(fault.start, most, len(data)) // 16 * 16 if fault else 0
    rows = [DetailRow("", texts.BYTES_BEFORE(count=first))] if first else []
    last = min(len(data), first + most)
    # One row more than there is where the fault is that the bytes end.
    end = max(last, fault.start + 1) if fault and last == len(data) else last
    for start in range(first, end, 16):
        part = data[start : start + 16]
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in part)
        marks: tuple[tuple[int, int], ...] = ()
        if fault is not None:
            a = max(fault.start, start) - start
            b = min(max(fault.end, fault.start + 1), start + 16) - start
            if a < b:
                marks = ((_column(a), _column(b - 1) + 2), (41 + a, 41 + b))
        rows.append(DetailRow(f"{start:04x}", f"{part.hex(' ', -2):<39}  {text}", marks=marks))
    if last < len(data):
        rows.append(DetailRow("", texts.BYTES_AFTER(count=len(data) - last)))
    return rows


def _column(byte: int) -> int:
    """Return where the digits of a byte begin: two bytes are a group of four digits."""
    return byte // 2 * 5 + byte % 2 * 2


def as_text(data: bytes, fault: Fault | None = None, most: int = MOST_CHARACTERS) -> DetailRow:
    """Return bytes as a row of text with the fault marked.

    >>> row = as_text("김".encode() + b"{", Fault(3, 4, "x"))
    >>> row.label, row.text, row.marks
    ('payload', '김{', ((1, 2),))
    """
    text = data.decode(errors="replace")
    if fault is None:
        return DetailRow("payload", printable(text, most))
    # NFC, the form in which lines are laid out, so that the marks stay where they are.
    before, at, after = (
        unicodedata.normalize("NFC", part.decode(errors="replace"))
        for part in (data[: fault.start], data[fault.start : fault.end], data[fault.end :])
    )
    first = _first(len(before), most, len(before) + len(at) + len(after))
    text = ("…" if first else "") + printable(before[first:] + at + after, most)
    start = len(before) - first + bool(first)
    return DetailRow("payload", text, marks=((start, start + max(1, len(at))),))


def _first(at: int, most: int, length: int) -> int:
    """Return where to begin, so that a place and what is around it are among the most shown."""
    return 0 if length <= most or at < most // 2 else at - most // 2
