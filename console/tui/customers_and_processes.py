"""Draws customers, processes, events and dead letters: pure functions of a view."""

from __future__ import annotations

from console import event_list, rules
from console import translations as msg
from console.event_list import FoldedEvent
from console.snapshot.model import Event, Process, Processes
from console.snapshot.severity import Severity
from console.snapshot.tables import DeadLetterRow, GradeCount, GradeRunRow, Grades
from console.text import duration, krw, number, percent
from console.tui import appearance
from console.tui.cells import folded, width
from console.tui.view import (
    Drawn,
    Line,
    PanelView,
    Part,
    cell,
    content,
    count,
    limited,
    more,
    rate,
    table,
    trouble,
)
from shop.clock import KST

_MOST_COUNTS = 6
"""Lines of the dead letters' counts; the rest of a low screen is for the letters themselves."""


def grades(view: PanelView) -> Drawn:
    """Draw how many customers hold each grade, and how that changed in the last run."""
    reading = view.snapshot.grades
    found = reading.value
    if found is None:
        return content(trouble(reading, view, "Grades"))
    if view.height <= 1:
        return content([_grades_in_a_line(found, view)])
    lines = trouble(reading, view)
    label = max((len(g.grade) for g in found.counts), default=0)
    most = max((g.customers for g in found.counts), default=0)
    for g in found.counts:
        lines.append(_grade(g, label, most, found.customers, view))
    if found.run:
        rows = [_run(found.run, view), *_run_details(found.run, view)]
        lines += [[(cell(text, view.width, view), appearance.DIM)] for text in rows]
    return content(limited(lines, view))


def _grades_in_a_line(found: Grades, view: PanelView) -> Line:
    """Return the share of each grade with its change in the last run, or the change's direction."""
    glyphs = view.options.glyphs

    def line(*, numbers: bool) -> list[Part]:
        parts: list[Part] = [(f"{view('Grades').upper()} ", appearance.DIM)]
        for g in found.counts:
            share = percent(rules.share(g.customers, found.customers))
            parts += [f"{g.grade} ", (share, appearance.BOLD)]
            if g.change:
                sign, arrow = ("+", glyphs.rising) if g.change > 0 else ("-", glyphs.falling)
                change = f" {sign}{number(abs(g.change))}" if numbers else arrow
                parts.append((change, appearance.OK if g.change > 0 else appearance.DIM))
            parts.append("  ")
        return parts[:-1]

    long = line(numbers=True)
    taken = sum(width(p if isinstance(p, str) else p[0]) for p in long)
    return long if taken <= view.width else line(numbers=False)


def _run(run: GradeRunRow, view: PanelView) -> str:
    glyphs = view.options.glyphs
    return (
        f"{view('last run')} {run.as_of.astimezone(KST):%H:%M:%S} KST {view(run.mode)}"
        f" {run.seconds:.2f}s, {view('changed')}"
        f" {glyphs.rising}{run.upgraded} {glyphs.falling}{run.downgraded}"
    )


def _run_details(run: GradeRunRow, view: PanelView) -> list[str]:
    """Return what else is known of a run; none of a schema that does not tell."""
    words = []
    if run.examined is not None:
        words.append(f"{view('examined')} {number(run.examined)}")
    if run.disagreed is not None:
        words.append(f"{view('disagreed')} {run.disagreed}")
    parts = (("read", run.read_seconds), ("compute", run.compute_seconds))
    for name, took in (*parts, ("write", run.write_seconds)):
        if took is not None:
            words.append(f"{view(name)} {took:.2f}s")
    return [", ".join(words)] if words else []


def _grade(g: GradeCount, label: int, most: int, customers: int, view: PanelView) -> Line:
    share = rules.share(g.customers, customers) or 0.0
    change = f"{g.change:+d}" if g.change else ""
    style = appearance.OK if g.change > 0 else appearance.DIM
    room = max(4, view.width - label - 24)
    return [
        (cell(g.grade, label, view), ""),
        " ",
        (
            appearance.bar(g.customers / most if most else 0.0, room, view.options.glyphs),
            appearance.BAR,
        ),
        f" {percent(share):>6} ",
        (f"{number(g.customers):>6}", appearance.BOLD),
        (f" {change}", style),
    ]


def grade_run(view: PanelView) -> Drawn:
    """Draw the last run of the grader."""
    reading = view.snapshot.grades
    lines: list[Line] = []
    if reading.value is not None and (run := reading.value.run) is not None:
        rows = [_run(run, view), *_run_details(run, view)]
        lines += [[(cell(text, view.width, view), appearance.DIM)] for text in rows]
    # Neither what took how long nor an error that the header shows is worth a line "2 more".
    return content([*trouble(reading, view), *lines][: view.height])


def takings(view: PanelView) -> Drawn:
    """Draw what was taken in the last minutes; the customers who spent most are in the list."""
    reading = view.snapshot.postgres
    found = reading.value
    lines = trouble(reading, view)
    if found is None:
        return content(lines)
    lines = lines[: max(0, view.height - 1)]  # the header shows what is wrong, too
    spend = krw(found.spend, view.options.lang)
    show = view.options.render
    lines.append(
        [
            (f"{show(msg.MINUTES(count=found.minutes))}: ", appearance.DIM),
            (show(msg.TAKINGS(count=number(found.orders), spend=spend)), appearance.BOLD),
        ]
    )
    return content(limited(lines, view))


def process_severity(p: Process, view: PanelView) -> Severity:
    """Return how serious the state of a process is."""
    if p.state in ("backoff", "gone", "silent"):
        return Severity.ERROR
    if p.beats and rules.silent(p.beat_at, view.snapshot.processes.taken_at or view.now):
        # Heartbeats are in Redis: while it is away, a process may well beat.
        return Severity.WARNING if view.snapshot.redis.current else Severity.UNKNOWN
    if p.paused or p.state in ("stopped", "stopping", "restarting"):
        return Severity.WARNING
    if p.state in ("running", "grading") or (p.state == "waiting" and not waiting_for(p)):
        return Severity.OK
    return Severity.WARNING


def waiting_for(p: Process) -> str:
    """Return what a process says it waits for."""
    return p.fields.get("waiting_for", "")


def processes(view: PanelView) -> Drawn:
    """Draw the processes: a line each where there is room, else as many as fit in a line."""
    reading = view.snapshot.processes
    found = reading.value
    lines = trouble(reading, view)
    if found is None:
        return content(lines)
    glyphs = view.options.glyphs
    if view.height < 6:
        parts: list[Part] = []
        used = 0
        rows: list[Line] = []
        for p in found.processes:
            done = f"{p.name} {rate(p.rate, view)}".removesuffix(f" {glyphs.dash}")
            text, style = view.marked(process_severity(p, view), done)
            text += f" {view('paused')}" if p.paused else ""
            if used + width(text) + 2 > view.width:
                rows.append(parts)
                parts, used = [], 0
            parts = [*parts, (text, style), "  "]
            used += width(text) + 2
        return content(limited([*lines, *rows, parts], view))
    drawn = table(*_process_table(found.processes, view), view, left=range(2))
    return content(limited(lines + _scenarios(found, view) + drawn, view))


def _scenarios(found: Processes, view: PanelView) -> list[Line]:
    if not found.scenarios:
        return []
    head = f"{view('scenarios')}: "
    running = cell(", ".join(found.scenarios), max(0, view.width - width(head)), view).rstrip()
    return [[(head, appearance.DIM), (running, appearance.ACCENT)]]


def _process_table(
    found: tuple[Process, ...], view: PanelView
) -> tuple[list[str], list[list[Part]]]:
    rows: list[list[Part]] = []
    dash = view.options.glyphs.dash
    for p in found:
        word = view("paused") if p.paused else view(p.state)
        factor = f" x{p.factor:g}" if p.factor != 1.0 else ""
        beat = (view.now - p.beat_at).total_seconds() if p.beat_at else None
        exit_ = p.last_exit if p.state == "backoff" and p.last_exit else ""
        rows.append(
            [
                p.name,
                view.marked(process_severity(p, view), word + factor),
                rate(p.rate, view),
                duration(None if beat is None else max(0.0, beat), dash),
                str(p.restarts),
                (f"{waiting_for(p)} {exit_}".strip(), appearance.DIM),
            ]
        )
    return ["", "", "", view("beat"), view("restarts"), ""], rows


def details(p: Process) -> str:
    """Return what a process reports of itself, in one line."""
    said = f"{waiting_for(p)} " if waiting_for(p) else ""
    if p.state == "backoff" and p.last_exit:
        said += f"{p.last_exit} "
    hidden = ("waiting_for", "rate", "last_id", "paused")
    return said + " ".join(f"{k}={v}" for k, v in p.fields.items() if k not in hidden and v)


LEVEL_STYLES = {
    "warning": appearance.WARN,
    "error": appearance.BAD,
    "critical": appearance.BAD,
    "debug": appearance.DIM,
}


LEVEL_WORDS = {"warning": "WARN", "critical": "CRIT"}
"""Abbreviations; the other levels have five letters at the most."""


def level_word(level: str) -> str:
    """Return the level of an event in at most five letters, never a part of a word.

    >>> [level_word(level) for level in ("debug", "info", "warning", "error", "critical")]
    ['DEBUG', 'INFO', 'WARN', 'ERROR', 'CRIT']
    """
    return LEVEL_WORDS.get(level, level.upper())


def event_line(folded: FoldedEvent, view: PanelView) -> Line:
    """Return an event as a line that fits the width; `xN` where it happened N times."""
    event = folded.event
    at = f"{event.at.astimezone(KST):%H:%M:%S}"
    style = LEVEL_STYLES.get(event.level, "")
    own = appearance.ACCENT if event.kind.value != "log" else appearance.DIM
    room = 14 if view.width >= 64 else 12 if view.width >= 48 else 9  # orders_group in two columns
    source = cell(event.source, room, view)
    times = f"x{folded.count} " if folded.count > 1 else ""
    text = cell(
        times + view.options.render(event.text), max(4, view.width - room - 17), view
    ).rstrip()
    return [
        (f"{at} ", appearance.DIM),
        (f"{level_word(event.level):<5} ", style),
        (f"{source} ", own),
        (text, style if style != appearance.DIM else ""),
    ]


def folded_events(view: PanelView) -> list[FoldedEvent]:
    """Return the events that the filter lets through, equal ones folded."""

    def text(e: Event) -> str:
        return view.options.render(e.text)

    return event_list.folded(event_list.chosen(view.snapshot.events, view.filter, text), text)


def events(view: PanelView) -> Drawn:
    """Draw the causes on top: recent errors and warnings, then everything else by newness."""
    found = event_list.ranked(folded_events(view), view.now)
    if not found:
        return content([[(view("none"), appearance.DIM)]])
    lines: list[Line] = [event_line(e, view) for e in found[: view.height]]
    return content(limited(lines, view, hidden=len(found) - len(lines)))


def dead_letter_counts(view: PanelView) -> Drawn:
    """Draw the dead letters by topic and reason."""
    reading = view.snapshot.letters
    found = reading.value
    lines = trouble(reading, view)
    if found is None:
        return content(lines)
    if not found.counts:
        return content([*lines, [(view("none"), appearance.OK)]])
    rows: list[list[Part]] = [
        [
            c.topic,
            c.reason,
            (count(c.open, view), appearance.WARN if c.open else appearance.DIM),
            count(c.total, view),
            f"{c.newest.astimezone(KST):%m-%d %H:%M:%S}",
        ]
        for c in found.counts
    ]
    header = [*map(view, ("topic", "reason", "open", "total", "newest"))]
    lines += table(header, rows, view, left=range(2))
    if len(lines) > _MOST_COUNTS:
        cut = len(lines) - _MOST_COUNTS + 1
        lines = [*lines[:-cut], [*more(cut, view), (": jangteo dlq counts", appearance.DIM)]]
    return content(lines)


def dead_letter(found: DeadLetterRow, view: PanelView) -> Drawn:
    """Draw one dead letter."""
    replayed = ""
    if found.replayed_at:
        replayed = f"  {view('replayed')} {found.replayed_at.astimezone(KST):%m-%d %H:%M:%S}"
    where = f"{found.topic} {found.partition} {found.offset}"
    at = f"{found.rejected_at.astimezone(KST):%Y-%m-%d %H:%M:%S}"
    field = f" {found.field}" if found.field else ""
    reason = f"{found.reason}{field}: "
    first, *more = folded(reason + found.detail, view.width)
    return content(
        [
            [(where, appearance.BOLD), (f"  {at}{replayed}", appearance.DIM)],
            [(first[: len(reason)], appearance.WARN), first[len(reason) :]],
            *([line] for line in more),
            *([line] for line in folded(found.payload, view.width)),
            [(f"jangteo dlq show {where}", appearance.DIM)],
        ]
    )
