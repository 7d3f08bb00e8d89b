"""One thing, opened: its rows, of which some lead further. Reading happens in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.coordinate import Coordinate
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import DataTable, Static

from console.lookups import texts
from console.lookups.details import KIND_LABELS, Detail, DetailRow, Ref
from console.sources import defect
from console.text import duration, to_ascii
from console.tui import appearance
from console.tui.appearance import DisplayOptions
from console.tui.cells import composed, fit, folded, width
from console.tui.objects.object_list import LIST_KEYS, ObjectOpened
from console.tui.view import Drawn, Line, Part, content

_MOST_LABEL = 25
_NEW_S = 5.0
"""For as long values count as those of now."""
_FRAME = 10
"""Cells of a line that are no text: border, padding of the box and of two cells, scroll bar."""
_FAULT = f"{appearance.BAD} reverse underline"


class RowsReady(Message):
    """The rows that take the place of one that waited were read."""

    def __init__(self, waited: DetailRow, rows: Sequence[DetailRow]) -> None:
        super().__init__()
        self.waited = waited
        self.rows = rows


class RowActions(Message):
    """The actions on the thing that is open are asked for."""

    def __init__(self, ref: Ref) -> None:
        super().__init__()
        self.ref = ref


def age_of(read_at: float, options: DisplayOptions) -> str:
    """Return how old values are that are not read again by themselves; empty while they are new.

    Args:
        read_at: monotonic seconds.
        options: language.
    """
    age_s = time.monotonic() - read_at
    return options.render(texts.READ_AGO(age=duration(age_s))) if age_s >= _NEW_S else ""


class _Rows(DataTable[Any]):
    """The rows of a detail."""

    BINDINGS: ClassVar = [*LIST_KEYS]


class DetailScreen(ModalScreen[None]):
    """Shows a detail.

    Args:
        ref: what is opened.
        read: reads it; called in a thread.
        options: language and glyphs.
    """

    AUTO_FOCUS = "_Rows"
    BINDINGS = [  # noqa: RUF012  (Textual's name and type; it is only read)
        Binding("escape,q,backspace", "dismiss", show=False),
        Binding("r", "read", show=False),
        Binding("a,A", "act", show=False),
        Binding("f,slash", "follow", show=False),
    ]

    def __init__(self, ref: Ref, read: Callable[[Ref], Detail], options: DisplayOptions) -> None:
        super().__init__()
        self.ref = ref
        self._read = read
        self._options = options
        self._rows: list[DetailRow] = []
        self._waiting: dict[DetailRow, float] = {}
        """The rows that are read, and since when, on a clock that never steps."""
        self._waiting_at: dict[int, DetailRow] = {}
        self._lines: list[DetailRow] = []
        """The row of each line."""
        self._text = ""
        self._read_at = 0.0

    def compose(self) -> ComposeResult:
        """Make the table."""
        with Vertical(classes="dialog", id="detail") as box:
            kind = self._options(KIND_LABELS.get(self.ref.kind, self.ref.kind))
            box.border_title = content([[f"{kind} {self.ref.key}".rstrip()]])[0]
            yield _Rows(cursor_type="row", show_header=False, id="detail-rows")
            keys = "Enter: open   a: act   f: follow   r: read again   Esc: back"
            yield Static(content([[(self._options(keys), appearance.DIM)]])[0])

    def on_mount(self) -> None:
        """Begin to read."""
        self.action_read()
        self.set_interval(1.0, self._count)

    def on_unmount(self) -> None:
        """Stop what is still being read."""
        self._waiting.clear()

    def on_resize(self) -> None:
        """Lay the rows out for the new size."""
        self.call_after_refresh(self._show)

    def action_read(self) -> None:
        """Read it, in a thread."""
        self._waiting.clear()
        self._read_at = time.monotonic()
        self._take([DetailRow("", later=lambda _stop: self._read(self.ref).rows)])

    def _take(self, rows: Sequence[DetailRow]) -> None:
        """Show rows, and read those that come later, each in a thread."""
        self._rows = [*rows]
        for row in rows:
            if row.later is not None and row not in self._waiting:
                self._waiting[row] = time.monotonic()
                threading.Thread(
                    target=self._wait, args=(row, row.later), name="lookup", daemon=True
                ).start()
        self._show()

    def _wait(self, row: DetailRow, read: Callable[[Callable[[], bool]], Any]) -> None:
        try:
            rows = read(lambda: row not in self._waiting)
        except Exception as e:  # the row would be awaited for ever
            rows = [DetailRow(row.label, defect(e), wrong=True)]
        if self.is_attached:
            self.post_message(RowsReady(row, rows))

    def on_rows_ready(self, message: RowsReady) -> None:
        """Show what was read in the place of the row that waited, unless it is read again."""
        message.stop()
        if self._waiting.pop(message.waited, None) is not None:
            at = self._rows.index(message.waited)
            self._take([*self._rows[:at], *message.rows, *self._rows[at + 1 :]])

    def _count(self) -> None:
        """Show how old the rows are, and for how long an answer has been awaited."""
        shown = age_of(self._read_at, self._options)
        self.query_one("#detail").border_subtitle = content([[shown]])[0]
        table = self.query_one(DataTable)
        for at, row in self._waiting_at.items():
            table.update_cell_at(Coordinate(at, 1), content([[self._asking(row)]])[0])

    def _asking(self, row: DetailRow) -> Part:
        now = time.monotonic()
        waited = int(now - self._waiting.get(row, now))
        text = self._options("asking") + self._options.glyphs.more
        return (f"{text} {duration(waited)}" if waited > 0 else text), appearance.DIM

    def _show(self) -> None:
        """Lay the rows out; the cursor stays on its row."""
        table = self.query_one(DataTable)
        cursor, top = table.cursor_row, table.scroll_offset.y
        under = self._lines[cursor] if 0 < cursor < len(self._lines) else None
        table.clear(columns=True)
        shown = [(self._in_ascii(r), self._label(r.label, name=r.name)) for r in self._rows]
        label = min(_MOST_LABEL, max((width(text) for _, text in shown), default=1))
        room = max(10, self.size.width - label - _FRAME)
        table.add_column("", width=label)
        table.add_column("", width=room)
        self._lines = []
        self._waiting_at = {}
        glyphs = self._options.glyphs
        for at, (whole, (row, name)) in enumerate(zip(self._rows, shown, strict=True)):
            if row.later is not None:
                self._waiting_at[len(self._lines)] = whole
                table.add_row(*content([[(name, appearance.DIM)], [self._asking(whole)]]))
                self._lines.append(whole)
                continue
            if row.heading:
                empty = at + 1 == len(shown) or shown[at + 1][0].heading
                below = self._options("none") if empty else glyphs.rule * min(20, room)
                line = content([[(below, appearance.DIM)]])[0]
                table.add_row(content([[(name, "bold")]])[0], line)
                self._lines.append(whole)
                continue
            style = appearance.BAD if row.wrong else "$primary" if row.ref else ""
            cut = fit(name, label, more=glyphs.more)
            for number, line in enumerate(self._folded(row, style, room)):
                label_cell = content([[(cut if number == 0 else "", appearance.DIM)]])[0]
                table.add_row(label_cell, line)
                self._lines.append(whole)
        self._text = "\n".join(f"{name}\t{self._shown(row)}" for row, name in shown)
        same = (n for n, row in enumerate(self._lines) if row is under)
        table.move_cursor(row=next(same, 0), scroll=False)
        table.scroll_to(y=top, animate=False)

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

    def _label(self, text: str, *, name: bool = False) -> str:
        if not name:
            return self._options(text)
        return to_ascii(text) if self._options.ascii else text

    @property
    def text(self) -> str:
        """What is shown, as text."""
        return self._text

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Open what the row leads to."""
        event.stop()
        if (ref := self._lines[event.cursor_row].ref) is not None:
            self.post_message(ObjectOpened(ref))

    def action_act(self) -> None:
        """Offer what can be done with it."""
        self.post_message(RowActions(self.ref))

    async def action_follow(self) -> None:
        """Follow an id from here."""
        await self.app.run_action("follow")
