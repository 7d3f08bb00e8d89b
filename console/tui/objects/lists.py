"""The lists of the tabs: their columns, and their rows of a view."""

from __future__ import annotations

from console import rules
from console.lookups import cache_rows
from console.lookups.details import Ref, place
from console.snapshot.model import Lag
from console.text import duration, number, percent, size
from console.tui import appearance, customers_and_processes, kafka_and_cache
from console.tui.objects.object_list import Column, ListRow, ObjectList
from console.tui.view import PanelView, Part, count, rate
from shop.clock import KST
from shop.redis import cache

_LAGS = tuple(Lag)


def topics() -> ObjectList:
    """Return the list of the shop's topics, and a row that leads to all topics."""
    columns = (
        Column("topic", 8, most=20), Column("lag", 6, right=True), Column("in", 7, right=True),
        Column("out", 7, right=True), Column("drain", 6, right=True, rank=2),
        Column("members", 7, right=True, rank=3), Column("group", 14, rank=1, most=26),
        Column("", 20),
    )  # fmt: skip
    return ObjectList(columns, _topics, reading="kafka", filtered=True, id="topics")


def _topics(view: PanelView) -> list[ListRow]:
    dash = view.options.glyphs.dash
    rows = []
    for t in view.snapshot.kafka.value.topics if view.snapshot.kafka.value else ():
        members = view("unknown") if t.members is None else str(len(t.members))
        cells: tuple[Part, ...] = (
            t.name, (count(t.lag, view), appearance.BOLD), rate(t.published, view),
            rate(t.taken, view), duration(t.drain_s, dash) if t.lag else dash, members,
            t.group, kafka_and_cache.topic_verdict(t, view),
        )  # fmt: skip
        order = (
            t.name, t.lag, t.published.per_s, t.taken.per_s, t.drain_s,
            None if t.members is None else len(t.members), t.group,
            _LAGS.index(t.verdict),
        )  # fmt: skip
        rows.append(ListRow(t.name, cells, order, Ref("topic", t.name)))
    if rows:
        every: tuple[Part, ...] = ((view("others"), appearance.DIM), *[""] * 7)
        rows.append(ListRow("", every, (None,) * 8, Ref("topics", "")))
    return rows


def grades() -> ObjectList:
    """Return the list of the grades."""
    columns = (
        Column("Grades", 10), Column("customers", 10, right=True), Column("share", 6, right=True),
        Column("change", 7, right=True), Column("", 20),
    )  # fmt: skip
    return ObjectList(columns, _grades, reading="grades", filtered=True, id="grade-list")


def _grades(view: PanelView) -> list[ListRow]:
    found = view.snapshot.grades.value
    most = max((g.customers for g in (found.counts if found else ())), default=0)
    rows = []
    for at, g in enumerate(found.counts if found else ()):
        share = rules.share(g.customers, found.customers if found else 0) or 0.0
        bar = appearance.bar(g.customers / most if most else 0.0, 24, view.options.glyphs)
        change = (f"{g.change:+d}" if g.change else "", appearance.OK if g.change > 0 else "")
        cells: tuple[Part, ...] = (
            g.grade, (number(g.customers), appearance.BOLD), percent(share), change,
            (bar, appearance.BAR),
        )  # fmt: skip
        order = (at, g.customers, share, g.change, g.customers)
        rows.append(ListRow(g.grade, cells, order, Ref("grade", g.grade)))
    return rows


def scenarios() -> ObjectList:
    """Return the list of the scenarios that an operator started."""
    columns = (Column("scenarios", 20), Column("", 20))
    return ObjectList(columns, _scenarios, reading="processes", filtered=True, id="scenario-list")


def _scenarios(view: PanelView) -> list[ListRow]:
    found = view.snapshot.processes.value
    rows = []
    for text in found.scenarios if found else ():
        name, _, how = text.partition(" ")
        cells: tuple[Part, ...] = ((name, appearance.ACCENT), how)
        rows.append(ListRow(name, cells, (name, how), Ref("scenario", name)))
    return rows


def partitions() -> ObjectList:
    """Return the list of all partitions."""
    columns = (
        Column("partition", 11, most=24), Column("", 9), Column("lag", 6, right=True),
        Column("in", 7, right=True), Column("out", 7, right=True),
        Column("drain", 6, right=True, rank=1), Column("begin", 8, right=True, rank=2),
        Column("applied", 9, right=True), Column("end", 9, right=True),
    )  # fmt: skip
    return ObjectList(columns, _partitions, reading="kafka", id="offsets")


def _partitions(view: PanelView) -> list[ListRow]:
    dash = view.options.glyphs.dash
    rows = []
    for t in view.snapshot.kafka.value.topics if view.snapshot.kafka.value else ():
        for p in t.partitions:
            word, style = view.marked(p.verdict.severity, view(p.verdict.value))
            word += f" {number(p.lost)}" if p.lost else ""
            word += f" {view('skew')} {p.skew}" if p.skew else ""
            offsets = [dash if n is None else str(n) for n in (p.low, p.applied, p.end)]
            cells: tuple[Part, ...] = (
                f"{t.name}-{p.partition}", (word, style), (count(p.lag, view), appearance.BOLD),
                rate(p.published, view), rate(p.taken, view),
                duration(p.drain_s, dash) if p.lag else dash, *offsets,
            )  # fmt: skip
            order = (
                (t.name, p.partition), _LAGS.index(p.verdict), p.lag, p.published.per_s,
                p.taken.per_s, p.drain_s, p.low, p.applied, p.end,
            )  # fmt: skip
            key = f"{t.name}/{p.partition}"
            rows.append(ListRow(key, cells, order, Ref("partition", key)))
    return rows


def cache_keys() -> ObjectList:
    """Return the list of the keys of the cache, each with its entries behind it."""
    columns = (
        Column("key", 16), Column("entries", 8, right=True), Column("age", 8, right=True),
        Column("", 20),
    )  # fmt: skip
    return ObjectList(columns, _cache_keys, reading="redis", id="cache-keys")


def _cache_keys(view: PanelView) -> list[ListRow]:
    found = view.snapshot.redis.value
    if found is None:
        return []
    refreshed = found.meta.refreshed_at
    age = None if refreshed is None else max(0.0, (view.now - refreshed).total_seconds())
    dash = view.options.glyphs.dash
    held = {cache.USERS: (found.users, "users"), cache.PRODUCTS: (found.products, "products")}
    rows = []
    for key in cache_rows.KEYS:
        number, what = held.get(key, (None, ""))
        cells: tuple[Part, ...] = (
            (key, appearance.ACCENT), (count(number, view), appearance.BOLD),
            duration(age, dash), (view(what), appearance.DIM),
        )  # fmt: skip
        rows.append(ListRow(key, cells, (key, number, age, what), Ref("key", key)))
    return rows


def refreshes() -> ObjectList:
    """Return the list of the cache's refreshes."""
    columns = (
        Column("at (KST)", 10), Column("#", 8), Column("duration", 9, right=True),
        Column("users", 7, right=True), Column("products", 8, right=True),
        Column("replaced", 8, right=True), Column("", 10),
    )  # fmt: skip
    return ObjectList(columns, _refreshes, reading="redis", id="refresh-list")


def _refreshes(view: PanelView) -> list[ListRow]:
    found = view.snapshot.redis.value
    rows = []
    for r in reversed(found.refreshes if found else ()):
        cells = (*kafka_and_cache.refresh_cells(r, view),)
        order = (r.at, r.version, r.duration, r.users, r.products, r.replaced, r.error)
        ref = Ref("refresh", cache_rows.refresh_key(r))
        rows.append(ListRow(f"{r.version} {r.at} {r.error}", cells, order, ref))
    return rows


def spenders() -> ObjectList:
    """Return the list of the customers who lately spent most."""
    columns = (
        Column("customers", 18), Column("", 10), Column("orders", 7, right=True),
        Column("KRW", 13, right=True), Column("id", 16),
    )  # fmt: skip
    return ObjectList(columns, _spenders, reading="postgres", id="spender-list")


def _spenders(view: PanelView) -> list[ListRow]:
    found = view.snapshot.postgres.value
    return [
        ListRow(
            str(s.user_id),
            (
                s.name or view("unknown"), (s.grade, appearance.ACCENT), str(s.orders),
                f"{s.spend:,}", (str(s.user_id), appearance.DIM),
            ),
            (s.name or "", s.grade, s.orders, s.spend, s.user_id),
            Ref("customer", str(s.user_id)),
        )
        for s in (found.spenders if found else ())
    ]  # fmt: skip


def upgrades() -> ObjectList:
    """Return the list of the newest changes of grade."""
    columns = (
        Column("at (KST)", 10), Column("customers", 16), Column("", 1), Column("Grades", 18),
        Column("KRW", 13, right=True), Column("id", 16, rank=1),
    )  # fmt: skip
    return ObjectList(columns, _upgrades, reading="grades", id="upgrade-list")


def _upgrades(view: PanelView) -> list[ListRow]:
    glyphs = view.options.glyphs
    arrows: dict[bool | None, Part] = {
        True: (glyphs.rising, appearance.OK), False: (glyphs.falling, appearance.WARN), None: "",
    }  # fmt: skip
    found = view.snapshot.grades.value
    return [
        ListRow(
            f"{u.user_id} {u.at}",
            (
                f"{u.at.astimezone(KST):%H:%M:%S}", u.name or view("unknown"), arrows[u.rises],
                (f"{u.from_grade} > {u.to_grade}", appearance.ACCENT), f"{u.spend:,}",
                (str(u.user_id), appearance.DIM),
            ),
            (u.at, u.name or "", u.rises, u.to_grade, u.spend, u.user_id),
            Ref("customer", str(u.user_id)),
        )
        for u in (found.upgrades if found else ())
    ]  # fmt: skip


def events() -> ObjectList:
    """Return the list of the log, the newest first."""
    columns = (
        Column("time (KST)", 10), Column("", 5), Column("process", 14, most=22),
        Column("text", 20),
    )  # fmt: skip
    return ObjectList(columns, _events, filtered=True, id="all-events")


def _events(view: PanelView) -> list[ListRow]:
    rows = []
    found = customers_and_processes.folded_events(view)
    # By their own times: a line of a log is read a second after the change that it explains.
    for folded in sorted(found, key=lambda f: (f.event.at, f.event.n), reverse=True):
        e = folded.event
        style = customers_and_processes.LEVEL_STYLES.get(e.level, "")
        own = appearance.ACCENT if e.kind.value != "log" else appearance.DIM
        times = f"x{folded.count} " if folded.count > 1 else ""
        text = times + view.options.render(e.text)
        cells: tuple[Part, ...] = (
            (f"{e.at.astimezone(KST):%H:%M:%S}", appearance.DIM),
            (customers_and_processes.level_word(e.level), style), (e.source, own),
            (text, "" if style == appearance.DIM else style),
        )  # fmt: skip
        rows.append(
            ListRow(str(e.n), cells, (e.at, e.level, e.source, text), Ref("event", str(e.n)))
        )
    return rows


def processes() -> ObjectList:
    """Return the list of the processes."""
    columns = (
        Column("process", 12, most=20), Column("", 16), Column("rate", 8, right=True),
        Column("beat", 6, right=True), Column("restarts", 8, right=True),
        Column("up", 7, right=True), Column("cpu", 5, right=True, rank=1),
        Column("memory", 8, right=True, rank=2), Column("pid", 8, right=True, rank=4),
        Column("", 12, rank=3),
    )  # fmt: skip
    return ObjectList(columns, _processes, reading="processes", id="all-processes")


def _processes(view: PanelView) -> list[ListRow]:
    found = view.snapshot.processes.value
    dash = view.options.glyphs.dash
    rows = []
    for p in found.processes if found else ():
        severity = customers_and_processes.process_severity(p, view)
        word = view("paused") if p.paused else view(p.state)
        word += f" x{p.factor:g}" if p.factor != 1.0 else ""
        beat = (view.now - p.beat_at).total_seconds() if p.beat_at else None
        up = (view.now - p.up_since).total_seconds() if p.up_since else None
        cells: tuple[Part, ...] = (
            p.name, view.marked(severity, word), rate(p.rate, view),
            duration(None if beat is None else max(0.0, beat), dash),
            str(p.restarts), duration(up, dash), dash if p.cpu is None else f"{p.cpu:.0f}%",
            size(p.memory, dash), str(p.pid or dash),
            (customers_and_processes.details(p), appearance.DIM),
        )  # fmt: skip
        order = (p.name, word, p.rate.per_s, beat, p.restarts, up, p.cpu, p.memory, p.pid, "")
        rows.append(ListRow(p.name, cells, order, Ref("process", p.name)))
    return rows


def letters() -> ObjectList:
    """Return the list of the newest dead letters."""
    columns = (
        Column("time (KST)", 14), Column("topic", 9, most=20), Column("where", 12),
        Column("reason", 16, most=30), Column("detail", 16),
    )  # fmt: skip
    return ObjectList(columns, _letters, reading="letters", id="letter-list")


def _letters(view: PanelView) -> list[ListRow]:
    found = view.snapshot.letters.value
    rows = []
    for x in found.newest if found else ():
        key = place(x.topic, x.partition, x.offset)
        done = f" ({view('replayed')})" if x.replayed_at else ""
        cells: tuple[Part, ...] = (
            f"{x.rejected_at.astimezone(KST):%m-%d %H:%M:%S}", x.topic,
            f"{x.partition}:{x.offset}", x.reason + done, x.detail,
        )  # fmt: skip
        order = (x.rejected_at, x.topic, (x.partition, x.offset), x.reason, x.detail)
        rows.append(ListRow(key, cells, order, Ref("letter", key)))
    return rows
