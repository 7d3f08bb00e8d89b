"""The list of what happened: kills, restarts, actions, scenarios, gradings, new versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList

from console.mark_kinds import kind_of
from console.series import Mark
from console.tui import charts
from console.tui.screens import Choices
from console.tui.view import PanelView, content

_WIDE: Final = 70
"""Cells of a line: those of a dialog, less its frame and scroll bar."""


class EventScreen(ModalScreen[Mark | None]):
    """The marks, the newest first; ends with the one that was chosen.

    Args:
        marks: oldest first.
        view: language, and the moment at which the list begins.
    """

    AUTO_FOCUS = "Choices"
    BINDINGS = [  # noqa: RUF012  (Textual's name and type; it is only read)
        Binding("escape,q,E", "dismiss(None)", show=False),
        Binding("slash", "filter", show=False),
    ]

    def __init__(self, marks: Sequence[Mark], view: PanelView) -> None:
        super().__init__()
        self._every = [*reversed(marks)]
        self._shown = self._every
        self._view = view.sized(min(_WIDE, view.width * 9 // 10 - 8), 1)

    def compose(self) -> ComposeResult:
        """Make the list, and the field that filters it."""
        with Vertical(classes="dialog", id="happened") as box:
            box.border_title = self._view("What happened")
            yield Input(placeholder=f"/ {self._view('filter')}", id="happened-filter")
            yield Choices()

    def on_mount(self) -> None:
        """Begin at the moment that is shown."""
        self._fill()
        moment = self._view.snapshot.at.timestamp()
        at = next((n for n, m in enumerate(self._shown) if m.at <= moment), 0)
        self.query_one(Choices).highlighted = at if self._shown else None

    def _fill(self) -> None:
        found = self.query_one(Choices)
        found.clear_options()
        lines = content(charts.mark_line(mark, self._view) for mark in self._shown)
        # Without colours: the letter says what it is, and the cursor's line stays legible.
        found.add_options(Choices.of(line.plain for line in lines))

    def action_filter(self) -> None:
        """Go to the field."""
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Keep what contains the word, in its text or the name of its kind."""
        event.stop()
        word = event.value.strip().casefold()
        self._shown = [m for m in self._every if word in self._text(m)]
        self._fill()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go to the list."""
        event.stop()
        found = self.query_one(Choices)
        found.focus()
        found.highlighted = 0 if self._shown else None

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Go there."""
        event.stop()
        self.dismiss(self._shown[event.option_index])

    def _text(self, mark: Mark) -> str:
        shown = self._view.options.render(mark.message or mark.text)
        return f"{self._view(kind_of(mark).label)} {shown}".casefold()
