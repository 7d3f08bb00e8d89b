"""The part of the application that opens rows, follows ids and browses topics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from console.lookups.details import Detail, Ref, asked
from console.translations import Text
from console.tui import screens
from console.tui.display import SnapshotApp
from console.tui.objects.detail_screen import DetailScreen
from console.tui.objects.message_browser import MessageBrowser
from console.tui.objects.object_list import ObjectList, ObjectOpened

if TYPE_CHECKING:  # imports the client of Kafka
    from console.lookups.browse import MessagePage, MessageQuery


class OpeningApp(SnapshotApp):
    """Opens what rows and answers name."""

    def _list(self) -> ObjectList | None:
        """Return the list that has the focus, else the first of the tab."""
        if isinstance(self.focused, ObjectList):
            return self.focused
        return next(iter(self.lists()), None)

    def action_open(self) -> None:
        """Open the row under the cursor."""
        table = self._list()
        if table is not None and (ref := table.under_cursor()) is not None:
            self.open(ref)

    def open(self, ref: Ref) -> None:
        """Show all that is known of a thing, or browse the messages of a topic."""
        if ref.browsed:
            self.push_screen(MessageBrowser(ref, self._browse, self.view, self._options))
        else:
            self.push_screen(DetailScreen(ref, self._look_up, self._options))

    def _look_up(self, ref: Ref) -> Detail:
        """Read a detail; called in a thread of its own."""
        from console.lookups.lookup import Lookup  # noqa: PLC0415  (the clients of three servers)

        return Lookup(self._operator.settings(), self._snapshot).open(ref)

    def _browse(
        self, query: MessageQuery, stop: Callable[[], bool]
    ) -> Iterator[MessagePage | Text]:
        """Read pages of messages; called in a thread of its own."""
        from console.lookups.lookup import pages  # noqa: PLC0415  (the clients of three servers)

        return pages(self._operator.settings(), query, self._snapshot.at, stop)

    def on_object_opened(self, message: ObjectOpened) -> None:
        """Open a row."""
        self.open(message.ref)

    def action_follow(self) -> None:
        """Ask for an id, and show its whole path."""

        def answered(answer: str | None) -> None:
            if answer:
                self.open(asked(answer))

        question = self._options("Follow which id?")
        self.push_screen(screens.Ask(question, self._options), answered)
