"""What a panel draws from, and the small things that all panels draw."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from textual.content import Content

from console import translations as msg
from console.event_list import EventFilter
from console.series import FIRST_SPAN, SnapshotSeries
from console.snapshot.model import Lag, Snapshot
from console.snapshot.reading import Rate, Reading, ReadingState
from console.snapshot.severity import Severity
from console.text import duration, number, to_ascii
from console.translations import Message, word
from console.tui import appearance
from console.tui.appearance import DisplayOptions
from console.tui.cells import composed, fit, width
from shop.clock import KST

Part = str | tuple[str, str]
"""Text, or text with a style."""
Line = Sequence[Part]
Drawn = list[Content]
"""What is drawn, a line each."""


@dataclass(frozen=True)
class PanelView:
    """A snapshot, how it came about, and the room there is; cells.

    Charts show `span` seconds until `until`; None: until the snapshot.
    """

    snapshot: Snapshot
    history: SnapshotSeries
    now: datetime
    options: DisplayOptions
    width: int = 80
    height: int = 24
    span: float = FIRST_SPAN
    until: datetime | None = None
    filter: EventFilter = field(default_factory=EventFilter)

    def sized(self, width: int, height: int) -> PanelView:
        """Return the same view for another room."""
        return replace(self, width=width, height=height)

    @property
    def end(self) -> datetime:
        """The end of the time that charts show."""
        return self.until or self.snapshot.at

    def marked(self, severity: Severity, text: str) -> tuple[str, str]:
        """Return a text with its mark, in the style of its severity."""
        return f"{self.options.mark(severity)} {text}", severity.style

    def __call__(self, word: str) -> str:
        """Return a word in the chosen language."""
        return self.options(word)


def content(lines: Iterable[Line]) -> Drawn:
    """Put lines together; nothing in them is markup.

    A line that was put together lately is the same object: who shows it need not look into it.
    """
    return [_line(tuple(line)) for line in lines]


def as_ascii(line: Content) -> Content:
    """Return a line in ASCII, with its styles where no character becomes several."""
    if line.plain.isascii():
        return line
    text = to_ascii(line.plain)
    return Content(text, spans=[*line.spans] if len(text) == len(line.plain) else [])


@lru_cache(maxsize=1024)
def _line(parts: tuple[Part, ...]) -> Content:
    return Content.assemble(
        *((composed(p[0]), p[1]) if isinstance(p, tuple) else Content(composed(p)) for p in parts)
    )


def cell(text: str, cells: int, view: PanelView, *, right: bool = False) -> str:
    """Cut or pad to a width, with the ellipsis of the glyphs."""
    if view.options.ascii:
        text = to_ascii(text)
    return fit(text, cells, right=right, more=view.options.glyphs.more)


def state(reading: Reading[Any], view: PanelView) -> Line:
    """Return a reading's state with its age, as mark, word and time."""
    age = reading.age(view.now)
    if reading.state is ReadingState.SLOW and reading.latency_ms:
        took = f" {duration(reading.latency_ms / 1000)}"
        words, style = view.marked(reading.state.severity, view(reading.state.value) + took)
        return [(words, style), (f" {duration(age)}", appearance.DIM)]
    words, style = view.marked(reading.state.severity, view(reading.state.value))
    if reading.state is ReadingState.OK:
        return [(words, style), (f" {duration(age)}", appearance.DIM)]
    if reading.state is ReadingState.LOADING:
        return [(words, style)]
    old = f" {duration(age)}" if age is not None else ""
    return [(words + old, style)]


def trouble(reading: Reading[Any], view: PanelView, label: str = "") -> list[Line]:
    """Return lines that say what is wrong with a source; none while it is in order.

    Args:
        reading: of the source.
        view: for the size, the time and the language.
        label: of the panel, in English: begins the line of one that has no title.
    """
    if reading.current:
        return []
    if label and view.height <= 1:
        head = f"{view(label).upper()} "
        below = trouble(reading, view.sized(view.width - width(head), 1))
        return [[(head, appearance.DIM), *line] for line in below]
    if reading.state is ReadingState.LOADING:
        return [[(f"{view('connecting')}{view.options.glyphs.more}", appearance.DIM)]]
    said: Message = word(reading.state.value)
    if reading.failing_since:
        at = f"{reading.failing_since.astimezone(KST):%H:%M:%S}"
        said = msg.STATE_SINCE(state=said, at=at)
    parts = [said]
    if reading.attempts:
        parts.append(msg.TRY(count=reading.attempts))
    if reading.retry_at:
        left = max(0.0, (reading.retry_at - view.now).total_seconds())
        parts.append(msg.NEXT_IN(seconds=f"{left:.0f}"))
    words, style = view.marked(
        reading.state.severity, ", ".join(view.options.render(part) for part in parts)
    )
    lines: list[Line] = [[(cell(words, view.width, view), style)]]
    if view.height > 3 and reading.error:
        error = view.options.render(reading.error)
        lines.append([(cell(error, view.width, view), appearance.DIM)])
    return lines


def dimmed(lines: Drawn, reading: Reading[Any], view: PanelView) -> Drawn:
    """Return the lines of a reading that is not current: dim, but for those that say what is wrong.

    A single line gets the age of its values, as there is no title to show it.
    """
    if reading.current or reading.value is None:
        return lines
    wrong = [line.plain.rstrip() for line in content(trouble(reading, view))]
    age = f" {ago(reading, view)}"
    if duration(reading.age(view.now)) in "".join(line.plain for line in lines):
        age = ""  # a verdict shows it already
    says_it = [any(text in line.plain for text in wrong) for line in lines]
    if len(lines) == 1 and view.height <= 1 and not says_it[0]:
        text = cell(lines[0].plain.rstrip(), view.width - width(age), view)
        lines = [Content(text.rstrip() + age)]
    return [
        line if said else Content.styled(line.plain, appearance.DIM)
        for line, said in zip(lines, says_it, strict=True)
    ]


def ago(reading: Reading[Any], view: PanelView) -> str:
    """Return how old the values of a reading are, as text."""
    return view.options.render(msg.AGO(age=duration(reading.age(view.now))))


def verdict(topic_was: Lag | None, worst: Lag, view: PanelView) -> tuple[str, str]:
    """Return a verdict with its mark; of a reading that is not current, what it was and when."""
    if topic_was is None:
        return view.marked(worst.severity, view(worst.value))
    was = msg.WAS(
        state=word(Lag.UNKNOWN.value),
        before=word(topic_was.value),
        age=duration(view.snapshot.kafka.age(view.now)),
    )
    return view.marked(Severity.UNKNOWN, view.options.render(was))


def more(hidden: int, view: PanelView) -> Line:
    """Return the line that says how many rows have no room."""
    return [(view.options.render(msg.MORE(count=hidden)), appearance.DIM)]


def limited(lines: list[Line], view: PanelView, *, hidden: int = 0) -> list[Line]:
    """Cut lines to the height; where any is cut, the last line says how many.

    Args:
        lines: to be cut.
        view: for the height.
        hidden: rows that the caller has left out.
    """
    if len(lines) <= view.height and not hidden:
        return lines
    kept = lines[: max(0, view.height - 1)]
    return [*kept, more(hidden + len(lines) - len(kept), view)]


def rate(value: Rate, view: PanelView) -> str:
    """Return a rate as text."""
    if value.reset:
        return view("reset")
    return view.options.glyphs.dash if value.per_s is None else f"{number(value.per_s)}/s"


def count(value: float | None, view: PanelView) -> str:
    """Return a number, or a dash for what is not known."""
    return number(value, view.options.glyphs.dash)


def listed(
    reading: Reading[Any],
    header: Sequence[str],
    rows: Sequence[Sequence[Part]],
    view: PanelView,
    *,
    left: Collection[int] = (0,),
) -> list[Line]:
    """Lay rows out as `table` does; where there are none, say why."""
    lines = table(header, rows, view, left=left)
    if reading.value is None:
        return [*lines, *trouble(reading, view)]
    return lines if rows else [*lines, [(view("none"), appearance.DIM)]]


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[Part]],
    view: PanelView,
    *,
    left: Collection[int] = (0,),
) -> list[Line]:
    """Lay rows out in columns that fit the width; the last column is cut.

    Args:
        header: one word per column.
        rows: text, or text with a style.
        view: for the width.
        left: the columns that are flush left; the last one always is.
    """
    texts = [[p[0] if isinstance(p, tuple) else p for p in row] for row in rows]
    if view.options.ascii:
        texts = [[to_ascii(text) for text in row] for row in texts]
    widths = [max(map(width, column)) for column in zip(header, *texts, strict=True)]
    last = len(header) - 1
    room = view.width - sum(widths[:last]) - 2 * last
    widths[last] = max(0, min(widths[last], room)) if last else view.width
    lines: list[Line] = []
    for row in [[(h, appearance.DIM) for h in header], *rows]:
        line: list[Part] = []
        for i, part in enumerate(row):
            text, style = part if isinstance(part, tuple) else (part, "")
            padded = cell(text, widths[i], view, right=i not in left and i < last)
            line += [(padded, style), "  "] if i < last else [(padded, style)]
        lines.append(line)
    return lines
