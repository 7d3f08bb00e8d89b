"""Draws Kafka, the cache and Redis: pure functions of a view."""

from __future__ import annotations

from console import rules
from console.rules import Phase
from console.snapshot.model import Kafka, Lag, Partition, Redis, Refresh, Topic
from console.snapshot.reading import Reading
from console.snapshot.severity import Severity
from console.text import duration, number, percent, size
from console.tui import appearance, charts
from console.tui.cells import width
from console.tui.view import (
    Drawn,
    Line,
    PanelView,
    Part,
    cell,
    content,
    count,
    limited,
    listed,
    rate,
    table,
    trouble,
    verdict,
)
from shop.clock import KST


def flow(view: PanelView) -> Drawn:
    """Draw what comes in, what goes out, and what is between, each over the last minutes."""
    kafka = view.snapshot.kafka
    topics = kafka.value.topics if kafka.value else ()
    lag = rules.total_lag(t.lag for t in topics)
    worst = rules.worst(t.verdict for t in topics)
    published = rules.total(t.published for t in topics)
    taken = rules.total(t.taken for t in topics)
    was = rules.worst(t.was for t in topics if t.was) if any(t.was for t in topics) else None
    word, style = verdict(was, worst, view)
    if view.height <= 1:
        cells = max(4, (view.width - 42 - width(word)) // 2)
        return content(
            [
                [
                    (f"{view('in').upper()} ", appearance.DIM),
                    (cell(rate(published, view), 8, view, right=True), appearance.BOLD),
                    (" " + _spark(view, "in", cells, 1)[0], appearance.BAR),
                    (f"  {view('out').upper()} ", appearance.DIM),
                    (cell(rate(taken, view), 8, view, right=True), appearance.BOLD),
                    (" " + _spark(view, "out", cells, 1)[0], appearance.BAR),
                    (f"  {view('lag').upper()} ", appearance.DIM),
                    (count(lag, view), appearance.BOLD),
                    (f" {word}", style),
                ]
            ]
        )
    lines = trouble(kafka, view)
    rows = max(1, (view.height - len(lines) - (was is not None)) // 3)
    drain = rules.drain_s(lag, published, taken)
    said = f"{view('drain')} {duration(drain)}" if lag and drain is not None else ""
    for name, text, after in (
        ("in", rate(published, view), ""),
        ("out", rate(taken, view), ""),
        ("lag", count(lag, view), said),
    ):
        lines += _chart(view, name, text, after, rows)
    if lines and rows > 1 and was is None:
        lines[-rows + 1] = [(cell(word, 10, view), style), *lines[-rows + 1][1:]]
    else:
        lines.append([(word, style)])
    return content(lines[: view.height])


def _spark(view: PanelView, name: str, cells: int, rows: int) -> list[str]:
    return charts.lines_of(name, cells, rows, view)[0]


def _chart(view: PanelView, name: str, text: str, after: str, rows: int) -> list[Line]:
    """Draw a series with its name and value next to it, and its maximum after it."""
    cells = max(4, view.width - 28)
    drawn, high = charts.lines_of(name, cells, rows, view)
    scale = charts.scale(name, drawn, high, view)
    lines: list[Line] = []
    for i, chart in enumerate(charts.marked(drawn, view)):
        label = view(name) if i == 0 else after if i == 2 else ""
        value = text if i == 0 else ""
        first: Part = (cell(label, 10, view), appearance.DIM)
        if rows == 1:
            first = (cell(view(name), 10, view), appearance.DIM)
        side = (cell(value, 8, view, right=True), appearance.BOLD)
        lines.append([first, side, " ", *chart, (f" {scale[i]}", appearance.DIM)])
    if rows == 2 and after:
        lines[1] = [(cell(after, 18, view), appearance.DIM), *lines[1][2:]]
    return lines


def partitions(view: PanelView) -> Drawn:
    """Draw the partitions, the worst and those furthest behind first."""
    kafka = view.snapshot.kafka
    lines = trouble(kafka, view)
    found = [(t, p) for t in (kafka.value.topics if kafka.value else ()) for p in t.partitions]
    order = tuple(Lag)
    found.sort(key=lambda f: (-order.index(f[1].verdict), -(f[1].lag or 0), f[0].name))
    rows = [_row(t, p, view) for t, p in found]
    header = [*map(view, ("partition", "lag", "in", "out", "drain")), ""]
    drawn = table(header, rows[: view.height], view)
    if view.height < 6:  # no room for a header
        drawn = drawn[1:]
    return content(limited(lines + drawn, view, hidden=max(0, len(rows) - view.height)))


def _row(topic: Topic, p: Partition, view: PanelView) -> list[Part]:
    word, style = view.marked(p.verdict.severity, view(p.verdict.value))
    if p.lost:
        word += f" {number(p.lost)}"
    return [
        f"{topic.name}-{p.partition}",
        (count(p.lag, view), appearance.BOLD),
        rate(p.published, view),
        rate(p.taken, view),
        duration(p.drain_s, view.options.glyphs.dash) if p.lag else view.options.glyphs.dash,
        (word, style),
    ]


_WIDE = 96
"""Cells from which on the members of the groups are listed; an open topic shows them, too."""


def topic_verdict(topic: Topic, view: PanelView) -> tuple[str, str]:
    """Return the state of a topic's group, with the one that it had before it was unknown."""
    severity, text = rules.topic_state(topic)
    if topic.was is not None:
        return verdict(topic.was, topic.verdict, view)
    return view.marked(severity, view.options.render(text))


def groups(view: PanelView) -> Drawn:
    """Draw the brokers and, where there is room, who consumes; lag and rates are in the list."""
    kafka = view.snapshot.kafka
    lines = trouble(kafka, view)
    if kafka.value is None:
        return content(lines)
    longest = max((width(t.group) for t in kafka.value.topics), default=0)
    for t in kafka.value.topics if view.width >= _WIDE else ():
        who = ", ".join(f"{m.client_id}@{m.host}" for m in t.members or ())
        who = who or view("unknown" if t.members is None else "none")
        group = cell(t.group, longest, view)
        room = cell(f"{view('members')}: {who}", max(0, view.width - longest - 2), view).rstrip()
        lines.append([group, "  ", (room, appearance.DIM)])
    return content([*lines, _brokers(kafka, view)])


def _brokers(reading: Reading[Kafka], view: PanelView) -> Line:
    """Return a line on the brokers and on the replicas of the shop's partitions."""
    found = reading.value
    if found is None:
        return []
    who = f" ({view('away')} {rules.ids(found.away)})" if found.away else ""
    line: list[Part] = []
    for name, wrong, text, bad in (
        ("brokers", len(found.away), rules.brokers(found) + who, Severity.WARNING),
        ("out of sync", found.out_of_sync, count(found.out_of_sync, view), Severity.WARNING),
        ("below min ISR", found.below_min, count(found.below_min, view), Severity.ERROR),
    ):
        known = wrong is not None and reading.current
        severity = Severity.UNKNOWN if not known else bad if wrong else Severity.OK
        line += [(f"{view(name)} ", appearance.DIM), view.marked(severity, text), "  "]
    return line[:-1]


def countdown(view: PanelView) -> Drawn:
    """Draw how long until the cache is refreshed, from what its worker announced."""
    phase, left = rules.cache_phase(view.snapshot)
    reading = view.snapshot.redis
    meta = reading.value.meta if reading.value else None
    if meta is not None and meta.next_due_at is not None and left is not None:
        left = (meta.next_due_at - view.now).total_seconds()
    word = view.marked(phase.severity, view(phase.value))
    style = phase.severity.style
    head = f"{view('Cache').upper()} " if view.height <= 1 else ""
    if meta is None or phase is Phase.UNKNOWN or left is None:
        lines = trouble(reading, view, "Cache") or [[(head, appearance.DIM), word]]
        return content(lines[: view.height])
    times = {
        Phase.WAITING: f"{max(0.0, left):.1f} s",
        Phase.OVERDUE: f"+{max(0.0, -left):.1f} s",
    }.get(phase, "")
    said: list[Part] = [(f" {times} ", f"{style} reverse"), " ", word] if times else [word]
    text = "".join(p if isinstance(p, str) else p[0] for p in said)
    tail = f"#{meta.version}  {meta.duration:.2f} s  {view('replaced')} {meta.replaced}"
    if phase is Phase.FAILED and meta.refreshed_at:
        tail = f"{duration((view.now - meta.refreshed_at).total_seconds())}: {meta.error}"
    done = 1 - max(0.0, left) / meta.interval if meta.interval else 1.0
    if view.height <= 1:
        room = view.width - width(head) - width(text) - width(tail) - 6
        return content(
            [
                [
                    (head, appearance.DIM),
                    *_bar(done, room, view),
                    *said,
                    (f"  {tail}", appearance.DIM),
                ]
            ]
        )
    below: Line = [(cell(tail, view.width, view), appearance.DIM)]
    if view.height < 4 or not times:
        return content([[*_bar(done, view.width - width(text) - 4, view), *said], below])
    return content([*_large(times, said[-1], done, style, view), below])


def _bar(done: float, room: int, view: PanelView) -> list[Part]:
    return [
        "[",
        (appearance.bar(done, max(4, min(50, room)), view.options.glyphs), appearance.BAR),
        "] ",
    ]


def _large(times: str, word: Part, done: float, style: str, view: PanelView) -> list[Line]:
    """Draw the time in digits of three lines, next to it the phase and the bar."""
    digits = appearance.digits(times)
    used = width(digits[0])
    lines: list[Line] = [[(row, f"{style} bold"), "  "] for row in digits]
    return [
        lines[0],
        [*lines[1], word],
        [*lines[2], *_bar(done, view.width - used - 6, view)],
    ]


def redis(view: PanelView) -> Drawn:
    """Draw Redis: one line where there is room for one, else the details."""
    reading = view.snapshot.redis
    found = reading.value
    if found is None:
        return content(trouble(reading, view, "Redis"))
    if view.height <= 1:
        return content([_redis_line(found, view)])
    lines = trouble(reading, view)
    rows = _redis_rows(found, view)
    label = max(width(r[0]) for r in rows)
    longest = max(width(value) for _, value, series in rows if series)
    room = view.width - label - 2 - longest - 2
    for name, value, series in rows:
        line: list[Part] = [
            (cell(name, label, view), appearance.DIM),
            "  ",
            (value, appearance.BOLD),
        ]
        if series and room >= 8:
            line += [
                " " * (longest - width(value) + 2),
                (_spark(view, series, min(40, room), 1)[0], appearance.BAR),
            ]
        lines.append(line)
    return content(limited(lines, view))


def _memory(found: Redis) -> str:
    return size(found.memory) + (f"/{size(found.max_memory)}" if found.max_memory else "")


def _redis_line(found: Redis, view: PanelView) -> Line:
    return [
        ("REDIS ", appearance.DIM),
        (_memory(found), appearance.BOLD),
        f" {number(found.ops)}/s {view('hit')} ",
        (percent(found.hit_rate, view.options.glyphs.dash), appearance.BOLD),
        (
            f" ({view('ever')} {percent(found.hit_rate_ever, view.options.glyphs.dash)})",
            appearance.DIM,
        ),
        f" {view('evicted')} {found.evicted}  {view('users')} {found.users}",
        f" {view('products')} {found.products}",
    ]


def _redis_rows(found: Redis, view: PanelView) -> list[tuple[str, str, str]]:
    hit = percent(found.hit_rate, view.options.glyphs.dash)
    ever = percent(found.hit_rate_ever, view.options.glyphs.dash)
    return [
        (view("memory"), _memory(found), "memory"),
        (view("ops"), f"{number(found.ops)}/s", "ops"),
        (view("hit"), f"{hit} ({view('ever')} {ever})", "misses"),
        (
            view("Cache"),
            f"{view('users')} {found.users}, {view('products')} {found.products}",
            "",
        ),
        (
            view("clients"),
            f"{found.clients}, {view('evicted')} {found.evicted}, {found.version}",
            "",
        ),
    ]


def refresh_cells(r: Refresh, view: PanelView) -> list[Part]:
    """Return a refresh as the cells of a row; one that failed replaced nothing."""
    dash = view.options.glyphs.dash
    figures = (f"{r.duration:.3f}s", str(r.users), str(r.products), str(r.replaced))
    return [
        f"{r.at.astimezone(KST):%H:%M:%S}",
        f"#{r.version}",
        *((dash,) * len(figures) if r.error else figures),
        (r.error or view("ok"), appearance.BAD if r.error else appearance.OK),
    ]


def refreshes(view: PanelView) -> Drawn:
    """Draw the last refreshes of the cache, the newest first."""
    found = view.snapshot.redis.value
    rows = [refresh_cells(r, view) for r in reversed(found.refreshes if found else ())]
    names = ("duration", "users", "products", "replaced")
    header = [view("at (KST)"), "#", *map(view, names), ""]
    return content(limited(listed(view.snapshot.redis, header, rows, view), view))
