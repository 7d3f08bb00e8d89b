"""One thing, opened: its rows, of which some lead further. Reading happens in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import DataTable, Static

from console.lookups.details import Detail, DetailRow, Ref
from console.text import to_ascii
from console.tui import appearance
from console.tui.appearance import DisplayOptions
from console.tui.cells import composed, folded, width
from console.tui.objects.object_list import ObjectOpened
from console.tui.view import Drawn, Line, Part, content

_MOST_LABEL = 20
_FRAME = 10
"""Cells of a line that are no text: border, padding of the box and of two cells, scroll bar."""
_FAULT = f"{appearance.BAD} reverse underline"


class DetailReady(Message):
    """A detail was read."""

    def __init__(self, detail: Detail) -> None:
        super().__init__()
        self.detail = detail


class RowActions(Message):
    """The actions on the thing that is open are asked for."""

    def __init__(self, ref: Ref) -> None:
        super().__init__()
        self.ref = ref


class DetailScreen(ModalScreen[None]):
    """Shows a detail.

    Args:
        ref: what is opened.
        read: reads it; called in a thread.
        options: language and glyphs.
    """

    AUTO_FOCUS = "DataTable"
    BINDINGS = [  # noqa: RUF012  (Textual's name and type; it is only read)
        Binding("escape,q,backspace", "dismiss", show=False),
        Binding("j", "down", show=False),
        Binding("k", "up", show=False),
        Binding("r", "read", show=False),
        Binding("a,A", "act", show=False),
        Binding("f,slash", "follow", show=False),
    ]

    def __init__(self, ref: Ref, read: Callable[[Ref], Detail], options: DisplayOptions) -> None:
        super().__init__()
        self.ref = ref
        self._read = read
        self._options = options
        self._lines: list[Ref | None] = []
        self._text = ""

    def compose(self) -> ComposeResult:
        """Make the table."""
        with Vertical(classes="dialog", id="detail") as box:
            box.border_title = content([[f"{self._label(self.ref.kind)} {self.ref.key}"]])[0]
            yield DataTable(cursor_type="row", show_header=False, id="detail-rows")
            keys = "Enter: open   a: act   f: follow   r: read again   Esc: back"
            yield Static(content([[(self._options(keys), appearance.DIM)]])[0])

    def on_mount(self) -> None:
        """Begin to read."""
        self.action_read()

    def action_read(self) -> None:
        """Read it, in a thread."""
        self._show([DetailRow("", self._options("asking") + self._options.glyphs.more)])

        def work() -> None:
            detail = self._read(self.ref)
            if self.is_attached:
                self.post_message(DetailReady(detail))

        threading.Thread(target=work, name="lookup", daemon=True).start()

    def on_detail_ready(self, message: DetailReady) -> None:
        """Show what was read."""
        message.stop()
        self._show(message.detail.rows)

    def _show(self, rows: Any) -> None:
        table = self.query_one(DataTable)
        table.clear(columns=True)
        shown = [(self._in_ascii(r), self._label(r.label)) for r in rows]
        label = min(_MOST_LABEL, max((width(text) for _, text in shown), default=1))
        room = max(10, self.size.width - label - _FRAME)
        table.add_column("", width=label)
        table.add_column("", width=room)
        self._lines = []
        glyphs = self._options.glyphs
        for row, name in shown:
            if not row.text:  # a heading
                line = content([[(glyphs.rule * min(20, room), appearance.DIM)]])[0]
                table.add_row(content([[(name, "bold")]])[0], line)
                self._lines.append(row.ref)
                continue
            style = appearance.BAD if row.wrong else "$primary" if row.ref else ""
            for at, line in enumerate(self._folded(row, style, room)):
                label_cell = content([[(name if at == 0 else "", appearance.DIM)]])[0]
                table.add_row(label_cell, line)
                self._lines.append(row.ref)
        self._text = "\n".join(f"{name}\t{self._shown(row)}" for row, name in shown)

    def _in_ascii(self, row: DetailRow) -> DetailRow:
        """Return a row in ASCII, with its marks where they then are."""
        if not self._options.ascii:
            return row
        text = composed(self._options.render(row.text))
        marks = tuple((len(to_ascii(text[:a])), len(to_ascii(text[:b]))) for a, b in row.marks)
        return replace(row, text=to_ascii(text), marks=marks)

    def _shown(self, row: DetailRow) -> str:
        return composed(self._options.render(row.text))

    def _folded(self, row: DetailRow, style: str, room: int) -> Drawn:
        """Return the lines of a row, and a line of carets below each that is at fault."""
        text, marks = self._shown(row), row.marks
        if not marks:
            return content([(line, style)] for line in folded(text, room))
        lines: list[Line] = []
        begin = 0
        for line in folded(text, room):
            parts: list[Part] = []
            carets, at, end = "", 0, begin + len(line)
            last = end == len(text)
            for first, stop in marks:
                a, b = max(first, begin) - begin, min(stop, end) - begin
                if last and first >= end:  # the fault is that it ends here
                    a = b = len(line)
                elif a >= b:
                    continue
                parts += [(line[at:a], style), (line[a:b], _FAULT)]
                carets += " " * (width(line[:a]) - width(carets)) + "^" * max(1, width(line[a:b]))
                at = b
            lines.append([*parts, (line[at:], style)])
            if carets:
                lines.append([(carets, appearance.BAD)])
            begin = end
        return content(lines)

    def _label(self, text: str) -> str:
        name = self._options(text)
        return to_ascii(name) if self._options.ascii else name

    @property
    def text(self) -> str:
        """What is shown, as text."""
        return self._text

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Open what the row leads to."""
        event.stop()
        if (ref := self._lines[event.cursor_row]) is not None:
            self.post_message(ObjectOpened(ref))

    def action_down(self) -> None:
        """Move down."""
        self.query_one(DataTable).action_cursor_down()

    def action_up(self) -> None:
        """Move up."""
        self.query_one(DataTable).action_cursor_up()

    def action_act(self) -> None:
        """Offer what can be done with it."""
        self.post_message(RowActions(self.ref))

    async def action_follow(self) -> None:
        """Follow an id from here."""
        await self.app.run_action("follow")
