"""Snapshots as text: a line for people and pipes, JSON for programs. Neither colour nor codes."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator
from itertools import zip_longest
from typing import Final

from console import rules
from console.rules import ShopHealth
from console.snapshot.model import READINGS, Event, Redis, Snapshot, Topic
from console.snapshot.reading import ReadingState
from console.text import duration, number, percent, to_ascii
from console.translations import Lang
from shop.clock import KST
from shop.errors import ExitCode
from shop.redis import cache_line

EXIT = {
    ShopHealth.OK: ExitCode.OK,
    ShopHealth.DEGRADED: ExitCode.FAILED,
    ShopHealth.UNREACHABLE: ExitCode.UNREACHABLE,
    ShopHealth.LOADING: ExitCode.TIMEOUT,
}


def exit_code(snapshot: Snapshot) -> ExitCode:
    """Return the exit code of `--once`: 0 healthy, 1 degraded, 3 unreachable, 4 no answer yet."""
    return EXIT[rules.health(snapshot)[0]]


def pairs(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Return the figures of a snapshot by name; what is not known is `-`."""
    health, reasons = rules.health(snapshot)
    found = [("at", f"{snapshot.at.astimezone(KST):%H:%M:%S}"), ("health", health.value)]
    for name in READINGS:
        reading = getattr(snapshot, name)
        if reading.state is not ReadingState.OK:
            age = reading.age(snapshot.at)
            state = reading.state.value + (f",{duration(age)}" if age is not None else "")
            found.append((name, state))
    found += [*_kafka(snapshot), *_cache(snapshot), *_shop(snapshot)]
    if reasons:
        found.append(("why", "; ".join(map(str, reasons))))
    return found


def _kafka(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    view = snapshot.kafka.value
    topics = view.topics if view else ()
    lag = rules.total_lag(t.lag for t in topics)
    yield "in", f"{number(rules.total(t.published for t in topics).per_s)}/s"
    yield "out", f"{number(rules.total(t.taken for t in topics).per_s)}/s"
    yield "lag", number(lag)
    yield "verdict", rules.worst(t.verdict for t in topics).value
    if view:
        yield "brokers", rules.brokers(view)
        yield "out_of_sync", number(view.out_of_sync)
        yield "below_min_isr", number(view.below_min)


def _cache(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    phase, left = rules.cache_phase(snapshot)
    yield "cache", phase.value
    shown = max(0.0, left or 0.0) if phase is rules.Phase.WAITING else left
    yield "due", "-" if shown is None else f"{shown:.0f}s"
    if view := snapshot.redis.value:
        yield "version", str(view.meta.version)
        yield "mem", view.memory_human
        yield "ops", str(view.ops)
        yield "hit", percent(view.hit_rate)


def _shop(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    if view := snapshot.postgres.value:
        yield f"orders_{view.minutes}m", str(view.orders)  # of the last minutes, as the name says
        yield f"spend_{view.minutes}m", str(view.spend)
    if grades := snapshot.grades.value:
        yield "customers", str(grades.customers)
        yield "grades", ",".join(f"{c.grade}:{c.customers}" for c in grades.counts)
    if letters := snapshot.letters.value:
        yield "dead_letters", str(letters.open)
    if processes := snapshot.processes.value:
        up = sum(p.state in ("running", "waiting", "grading") for p in processes.processes)
        yield "processes", f"{up}/{len(processes.processes)}"


def line(snapshot: Snapshot) -> str:
    """Return a snapshot as one line of `key=value`."""
    return " ".join(f"{k}={_quoted(v)}" for k, v in pairs(snapshot))


def _quoted(value: str) -> str:
    r"""Return a value as logfmt has it.

    >>> print(_quoted("ok"), _quoted('a "b"'))
    ok "a \"b\""
    """
    if not any(c in value for c in ' "='):
        return value
    escaped = value.replace('"', '\\"')
    return f'"{escaped}"'


def monitor_line(snapshot: Snapshot, lang: Lang) -> str:
    """Return the cache monitor's line; in its place, what is wrong with Redis."""
    view = snapshot.redis.value
    if view is None or snapshot.redis.state is ReadingState.DOWN:
        return cache_line.away(
            OSError(str(snapshot.redis.error or "no answer yet")), snapshot.at, lang
        )
    return cache_line.line(view.meta, info(view), view.users, view.products, snapshot.at, lang=lang)


def info(view: Redis) -> dict[str, str | int]:
    """Return those fields of Redis's INFO that the monitor's line is made of."""
    return {
        "used_memory_human": view.memory_human,
        "instantaneous_ops_per_sec": view.ops,
        "keyspace_hits": view.hits,
        "keyspace_misses": view.misses,
    }


def event_line(event: Event) -> str:
    """Return an event as one line."""
    return (
        f"{event.at.astimezone(KST):%H:%M:%S} KST {event.level.upper():<7} "
        f"{event.source:<9} {event.text}"
    )


def page(snapshot: Snapshot, lang: Lang) -> str:
    """Return a snapshot as a short page, for `--once`."""
    health, reasons = rules.health(snapshot)
    lines = [monitor_line(snapshot, lang)]
    lines += [f"{name}: {value}" for name, value in pairs(snapshot) if name not in ("why", "at")]
    for topic in snapshot.kafka.value.topics if snapshot.kafka.value else ():
        drains = topic.lag and topic.drain_s is not None and topic.was is None
        drain = f", drain {duration(topic.drain_s)}" if drains else ""
        state = f"{rules.topic_state(topic)[1]}{_was(topic, snapshot)}"
        lines.append(f"  {topic.group}: lag {number(topic.lag)} {state}{drain}")
    for p in snapshot.processes.value.processes if snapshot.processes.value else ():
        rate = f", {number(p.rate.per_s)}/s" if p.rate.per_s is not None else ""
        lines.append(f"  {p.name}: {p.state}{rate}{', paused' if p.paused else ''}")
    lines.append(
        "all ok" if health is ShopHealth.OK else "; ".join(map(str, reasons)) or health.value
    )
    return "\n".join(lines)


def _was(topic: Topic, snapshot: Snapshot) -> str:
    if topic.was is None:
        return ""
    return f" (was {topic.was.value} {duration(snapshot.kafka.age(snapshot.at))} ago)"


def comparison(
    first: Snapshot | None, second: Snapshot | None, width: int = 80, *, ascii_only: bool = False
) -> str:
    """Return the figures of two snapshots in two columns, with a mark where they differ.

    A value that is longer than its column continues in the lines below, so that a terminal of
    `width` columns shows all of it.
    """
    if first is None or second is None:
        return "one of the two moments cannot be read"
    fit = to_ascii if ascii_only else _with_wide
    before, after = ({n: fit(v) for n, v in pairs(s)} for s in (first, second))
    names = list(dict.fromkeys([*before, *after]))
    columns = [(n, before.get(n, "-"), after.get(n, "-")) for n in names]
    left = max(len(n) for n in names)
    room = max(8, (width - left - 6) // 2)
    lines = []
    for name, was, now in columns:
        mark = "*" if now != was else " "
        rows = zip_longest(_wrapped(was, room), _wrapped(now, room), fillvalue="")
        for at, (a, b) in enumerate(rows):
            start = f"{mark} {name:<{left}}" if at == 0 else " " * (left + 2)
            lines.append(f"{start}  {a:<{room}}  {b}".rstrip(f" {_HALF}"))
    return "\n".join(lines).replace(_HALF, "")


_HALF: Final = "\0"
"""The second cell of a wide character while lines are laid out."""


def _with_wide(text: str) -> str:
    """Return a text in which a character that takes two cells is two characters."""
    if text.isascii():
        return text
    wide = (unicodedata.east_asian_width(c) in "WF" for c in text)
    return "".join(c + _HALF * two for c, two in zip(text, wide, strict=True))


def _wrapped(text: str, room: int) -> list[str]:
    """Break a value into lines, after commas and spaces where there are any."""
    return textwrap.wrap(text.replace(",", ", "), room) or [""]
