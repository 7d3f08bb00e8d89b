"""The tab of the dead letters: counts, the newest ones to browse, and the one under the cursor."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import DataTable

from console.snapshot.tables import DeadLetterRow
from console.tui import customers_and_processes
from console.tui.appearance import DisplayOptions
from console.tui.cells import fit
from console.tui.panel import Panel
from console.tui.view import Drawn, PanelView, content
from shop.clock import KST

_COLUMNS = (("time", 14), ("topic", 9), ("where", 14), ("reason", 16), ("detail", 54))
"""Names and cells; with the scroll bar they fit 120."""


class DeadLetterBrowser(Vertical):
    """Browses `rejected_messages`."""

    def __init__(self, options: DisplayOptions, *, id: str, classes: str) -> None:  # noqa: A002  (Textual's name)
        super().__init__(id=id, classes=classes)
        self._options = options
        self._letters: tuple[DeadLetterRow, ...] = ()
        self._view: PanelView | None = None

    def compose(self) -> ComposeResult:
        """Make counts, table and detail."""
        yield Panel(
            customers_and_processes.dead_letter_counts,
            "Dead letters",
            rule=True,
            tall=True,
            id="letter-counts",
        )
        yield DataTable(cursor_type="row", zebra_stripes=False, show_header=True)
        yield Panel(self._draw, "Message", rule=True, id="letter")

    def on_mount(self) -> None:
        """Set the columns: of fixed width, so that no row is measured."""
        table = self.query_one(DataTable)
        for name, width in _COLUMNS:
            table.add_column(self._options(name), width=width, key=name)

    def show(self, view: PanelView) -> None:
        """Take the letters; the cursor stays on its letter."""
        self._view = view
        reading = view.snapshot.letters.value
        found = reading.newest if reading else ()
        if found == self._letters:
            return
        table = self.query_one(DataTable)
        under = self._under()
        self._letters = found
        table.clear()
        for number, letter in enumerate(found):
            table.add_row(*map(Content, _row(letter, self._options)), key=str(number))
        if under is not None:
            places = [_place(x) for x in found]
            if _place(under) in places:
                table.move_cursor(row=places.index(_place(under)))

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Show the letter under the cursor."""
        event.stop()
        if self._view is not None:
            self.query_one("#letter", Panel).show(self._view)

    def _under(self) -> DeadLetterRow | None:
        row = self.query_one(DataTable).cursor_row
        return self._letters[row] if 0 <= row < len(self._letters) else None

    def _draw(self, view: PanelView) -> Drawn:
        letter = self._under()
        return (
            customers_and_processes.dead_letter(letter, view)
            if letter
            else content([[view("none")]])
        )


def _place(letter: DeadLetterRow) -> tuple[str, int, int]:
    return letter.topic, letter.partition, letter.offset


def _row(letter: DeadLetterRow, options: DisplayOptions) -> list[str]:
    return [
        f"{letter.rejected_at.astimezone(KST):%m-%d %H:%M:%S}",
        letter.topic,
        f"{letter.partition}:{letter.offset}",
        letter.reason + (f" ({options('replayed')})" if letter.replayed_at else ""),
        fit(letter.detail, dict(_COLUMNS)["detail"]).rstrip(),
    ]
