"""The messages of a topic: from a position on or as they come, by key and by condition."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from console import translations as msg
from console.lookups.details import Ref, place
from console.sources import defect
from console.text import number, printable
from console.translations import Text
from console.tui import appearance
from console.tui.appearance import DisplayOptions
from console.tui.objects.detail_screen import age_of
from console.tui.objects.object_list import Column, ListRow, ObjectList
from console.tui.view import PanelView, content
from shop.clock import KST

if TYPE_CHECKING:  # imports the client of Kafka
    from console.lookups.browse import MessagePage, MessageQuery

ReadMessages: TypeAlias = (
    "Callable[[MessageQuery, Callable[[], bool]], Iterator[MessagePage | Text]]"
)
"""Yields pages of a query until the function that is passed returns true; a text is a failure."""
_COLUMNS = (
    Column("where", 12), Column("time (KST)", 14), Column("key", 16, rank=1),
    Column("message", 32),
)  # fmt: skip


class PageReady(Message):
    """A page of messages was read, or could not be."""

    def __init__(self, page: MessagePage | Text, number: int) -> None:
        super().__init__()
        self.page = page
        self.number = number


class MessageBrowser(ModalScreen[None]):
    """Browses the messages of a topic.

    Args:
        ref: a topic (`messages`), or one of its partitions.
        read: reads pages; called in a thread.
        view: returns what lists are drawn from.
        options: language and glyphs.
    """

    AUTO_FOCUS = "ObjectList"
    BINDINGS = [  # noqa: RUF012  (Textual's name and type; it is only read)
        Binding("escape,q", "leave", show=False),
        Binding("r", "read", show=False),
        Binding("t", "follow", show=False),
        Binding("s", "sort", show=False),
        Binding("S", "reverse", show=False),
        Binding("slash", "search", show=False),
    ]

    def __init__(
        self,
        ref: Ref,
        read: ReadMessages,
        view: Callable[[], PanelView],
        options: DisplayOptions,
    ) -> None:
        super().__init__()
        self.ref = ref
        self._read = read
        self._view = view
        self._options = options
        self._page: MessagePage | None = None
        self._failed = False
        """Whether the page is that of an earlier query: the newest one had no answer."""
        self._asking = False
        self._read_at = 0.0
        self._kafka_answers = True
        self._following = False
        self._number = 0
        self._stop = threading.Event()

    def compose(self) -> ComposeResult:
        """Make the fields, the list and two lines below it."""
        topic, _, partition = self.ref.key.partition("/")
        with Vertical(classes="dialog", id="messages") as box:
            box.border_title = content([[f"{topic}-{partition}" if partition else topic]])[0]
            with Horizontal(id="query"):
                yield Label(self._options("from"))
                yield Input(placeholder="-100", id="from", select_on_focus=False, compact=True)
                yield Label(self._options("key"))
                yield Input(id="key", select_on_focus=False, compact=True)
                yield Label(self._options("if"))
                example = 'amount > 10000 and status == "PAID"'
                yield Input(placeholder=example, id="if", select_on_focus=False, compact=True)
            yield ObjectList(
                _COLUMNS, self._rows, reading="kafka", filtered=True, silent=True,
                id="message-list",
            )  # fmt: skip
            yield Static("", id="found")
            keys = "Enter: open   /: condition   t: tail   s: sort   r: read again   Esc: back"
            yield Static(content([[(self._options(keys), appearance.DIM)]])[0])

    def on_mount(self) -> None:
        """Begin to read."""
        self.call_after_refresh(self.action_read)
        self.set_interval(1.0, self._look_at_kafka)

    def on_unmount(self) -> None:
        """Stop reading."""
        self._stop.set()

    def on_resize(self) -> None:
        """Draw for the new size."""
        self.call_after_refresh(self._draw)

    # ---- reading ----

    def action_read(self) -> None:
        """Read what the fields ask for, in a thread; the reading before it ends."""
        from console.lookups.browse import MessageQuery  # noqa: PLC0415  (the client of Kafka)

        self._stop.set()
        self._stop = stop = threading.Event()
        self._number += 1
        number = self._number
        topic, _, partition = self.ref.key.partition("/")
        query = MessageQuery(
            topic,
            int(partition) if partition else None,
            begin=self._typed("from"),
            key=self._typed("key"),
            where=self._typed("if"),
            follow=self._following,
        )
        self._asking = True
        self._report([(self._options("asking") + self._options.glyphs.more, appearance.DIM)])

        def work() -> None:
            try:
                for page in self._read(query, stop.is_set):
                    if stop.is_set() or not self.is_attached:
                        return
                    self.post_message(PageReady(page, number))
            except Exception as e:  # the page would be awaited for ever
                self.post_message(PageReady(defect(e), number))

        threading.Thread(target=work, name="browse", daemon=True).start()

    def _typed(self, name: str) -> str:
        return self.query_one(f"#{name}", Input).value.strip()

    def on_page_ready(self, message: PageReady) -> None:
        """Show a page, unless something else was asked for since."""
        message.stop()
        if message.number != self._number:
            return
        self._asking = False
        self._failed = isinstance(message.page, (str, msg.Message))
        if isinstance(message.page, (str, msg.Message)):
            self._draw()
            self._report([(self._options.render(message.page), appearance.BAD)])
            return
        self._page = message.page
        self._read_at = time.monotonic()
        self._draw()
        self._report_page()

    def _look_at_kafka(self) -> None:
        """Show how old the page is, and that nothing can come while Kafka does not answer."""
        answers = self._view().snapshot.kafka.current
        if answers is not self._kafka_answers:
            self._kafka_answers = answers
            self._draw()
        if self._page is not None and not self._failed and not self._asking:
            self._report_page()

    def _report_page(self) -> None:
        """Write what was read, and whether more comes."""
        page = self._page
        if page is None:
            return
        low = sum(high - low for low, high in page.bounds.values())
        text = msg.PAGE(
            shown=number(len(page.messages)), scanned=number(page.scanned), kept=number(low)
        )
        parts = [(self._options.render(text), appearance.DIM)]
        if not page.whole:
            parts.append((f"  {self._options('not all of it')}", appearance.WARN))
        if not self._following:
            parts.append((f"  {age_of(self._read_at, self._options)}", appearance.DIM))
        elif self._kafka_answers:
            parts.append((f"  {self._options('live tail')}", appearance.ACCENT))
        else:
            away = msg.OF(name="Kafka", error=msg.NO_ANSWER())
            parts.append((f"  {self._options.render(away)}", appearance.BAD))
        self._report(parts)

    def _report(self, parts: list[tuple[str, str]]) -> None:
        self.query_one("#found", Static).update(content([parts])[0])

    # ---- drawing ----

    def _draw(self) -> None:
        with contextlib.suppress(LookupError):  # the screen is being left
            self.query_one(ObjectList).show(self._view())

    def _rows(self, _: PanelView) -> list[ListRow]:
        rows = []
        for m in self._page.messages if self._page else ():
            topic, partition, offset = str(m.topic()), m.partition() or 0, m.offset() or 0
            key = place(topic, partition, offset)
            ms = m.timestamp()[1]
            raw_key, raw = m.key(), m.value()
            text = "-" if raw is None else printable(_text(raw), 300)
            name = "-" if raw_key is None else printable(_text(raw_key))
            style = appearance.DIM if self._failed else ""
            cells = ((f"{partition}:{offset}", style), (_at(ms), appearance.DIM),
                     (name, style), (text, style))  # fmt: skip
            rows.append(
                ListRow(key, cells, ((partition, offset), ms, name, text), Ref("message", key))
            )
        return rows

    # ---- keys ----

    def action_follow(self) -> None:
        """Begin or end to wait for new messages."""
        self._following = not self._following
        self.action_read()

    def action_search(self) -> None:
        """Type a condition."""
        self.query_one("#if", Input).focus()

    def action_leave(self) -> None:
        """Leave a field, or the screen."""
        if isinstance(self.focused, Input):
            self.query_one(ObjectList).focus()
        else:
            self.dismiss()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Read what the fields ask for."""
        event.stop()
        self.query_one(ObjectList).focus()
        self.action_read()

    def action_sort(self) -> None:
        """Sort by the next column."""
        self.query_one(ObjectList).next_column()

    def action_reverse(self) -> None:
        """Sort the other way round."""
        table = self.query_one(ObjectList)
        if table.sorted_by is not None:
            table.sort_by(table.sorted_by)

    @property
    def text(self) -> str:
        """What is shown, as text."""
        return self.query_one(ObjectList).text


def _text(data: bytes | str) -> str:
    return data if isinstance(data, str) else data.decode(errors="replace")


def _at(ms: int) -> str:
    if ms < 0:
        return "-"
    try:
        return f"{datetime.fromtimestamp(ms / 1000, KST):%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):  # microseconds, taken for milliseconds
        return str(ms)
