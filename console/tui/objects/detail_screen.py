"""One thing, opened: its rows, of which some lead further. Reading happens in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
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
from console.tui.cells import folded, width
from console.tui.objects.object_list import ObjectOpened
from console.tui.view import content

_MOST_LABEL = 26


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
        Binding("slash", "search", show=False),
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
            box.border_title = content([[str(self.ref)]])[0]
            yield DataTable(cursor_type="row", show_header=False, id="detail-rows")
            keys = "Enter: open   a: act   /: search   r: read again   Esc: back"
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
        shown = [(r, self._label(r.label)) for r in rows]
        label = min(_MOST_LABEL, max((width(text) for _, text in shown), default=1))
        room = max(10, self.size.width * 96 // 100 - label - 10)
        table.add_column("", width=label)
        table.add_column("", width=room)
        self._lines = []
        glyphs = self._options.glyphs
        for row, name in shown:
            text = to_ascii(row.text) if self._options.ascii else row.text
            style = appearance.BAD if row.wrong else "$primary" if row.ref else ""
            head = "bold" if not row.text else appearance.DIM
            for at, line in enumerate(folded(text, room)):
                first = name if at == 0 else ""
                if not row.text:
                    line = glyphs.rule * min(20, room)  # noqa: PLW2901  (a heading)
                    style = appearance.DIM
                table.add_row(content([[(first, head)]])[0], content([[(line, style)]])[0])
                self._lines.append(row.ref)
        self._text = "\n".join(f"{name}\t{row.text}" for row, name in shown)

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

    def action_search(self) -> None:
        """Search the messages of a partition; follow something else from anywhere else."""
        self.app.run_worker(self._search(), exclusive=True)

    async def _search(self) -> None:
        partition = self.ref.kind == "partition"
        await self.app.run_action(f"search_messages('{self.ref.key.split(' ')[0]}')"
                                  if partition else "follow")  # fmt: skip
