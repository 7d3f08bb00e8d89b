"""The tab of the dead letters: counts, the newest ones as a list, and the one under the cursor."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import DataTable

from console.snapshot.tables import DeadLetterRow
from console.tui import charts, customers_and_processes
from console.tui.objects import lists
from console.tui.objects.object_list import ObjectList
from console.tui.panel import Panel
from console.tui.timeline.chart_panel import ChartPanel
from console.tui.view import Drawn, PanelView, content


class DeadLetterBrowser(Vertical):
    """Browses `rejected_messages`."""

    def compose(self) -> ComposeResult:
        """Make counts, list and detail."""
        yield Panel(
            customers_and_processes.dead_letter_counts,
            "Dead letters",
            rule=True,
            tall=True,
            reading="letters",
            id="letter-counts",
        )
        yield lists.letters()
        yield Panel(self._draw, "Message", rule=True, reading="letters", id="letter")
        yield ChartPanel(charts.charts_of("dead letters", "in"), "Charts", id="letter-charts")

    def on_data_table_row_highlighted(self, _: DataTable.RowHighlighted) -> None:
        """Show the letter under the cursor; the event continues to the footer."""
        if (view := self.query_one(ObjectList).view) is not None:
            self.query_one("#letter", Panel).show(view)

    def _draw(self, view: PanelView) -> Drawn:
        ref = self.query_one(ObjectList).under_cursor()
        reading = view.snapshot.letters.value
        for letter in reading.newest if reading and ref else ():
            if ref and ref.place == _place(letter):
                return customers_and_processes.dead_letter(letter, view)
        return content([[view("none")]])


def _place(letter: DeadLetterRow) -> tuple[str, int, int]:
    return letter.topic, letter.partition, letter.offset
