"""What a detail is: a title and rows, of which some lead to another detail. Immutable."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

KINDS: Final = (
    "customer", "order", "product", "grade", "topic", "partition", "message", "letter", "process",
    "event", "follow",
)  # fmt: skip


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


@dataclass(frozen=True)
class DetailRow:
    """One row of a detail.

    Attributes:
        label: what it is; a heading where `text` is empty.
        text: its value, printable, on one line.
        ref: what it leads to.
        wrong: whether it shows a fault.
    """

    label: str
    text: str = ""
    ref: Ref | None = None
    wrong: bool = False


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
    """
    text = text.strip()
    if found := re.fullmatch(r"(\w+)\[(\d+)\]@(\d+)", text):
        return Ref("message", "/".join(found.groups()))
    kind, _, key = text.partition(" ")
    if kind in KINDS and key.strip():
        return Ref(kind, key.strip())
    return Ref("follow", text)


def in_hex(data: bytes, most: int = 512) -> list[DetailRow]:
    """Return bytes as rows of sixteen: the offset, hexadecimal digits, text.

    >>> [(r.label, r.text) for r in in_hex(b'{"v": 1}')]
    [('0000', '7b 22 76 22 3a 20 31 7d                           {"v": 1}')]
    """
    rows = []
    for start in range(0, min(len(data), most), 16):
        part = data[start : start + 16]
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in part)
        rows.append(DetailRow(f"{start:04x}", f"{part.hex(' '):<48}  {text}"))
    if len(data) > most:
        rows.append(DetailRow("", f"{len(data) - most} more bytes"))
    return rows
