"""The events that follow from the differences of two snapshots: pure functions."""

from __future__ import annotations

from collections.abc import Iterator

from console import translations as msg
from console.rules import Phase, cache_phase, ids
from console.snapshot.model import SERVERS, Lag, Snapshot
from console.snapshot.reading import Reading, ReadingState
from console.snapshot.severity import Severity
from console.text import duration
from console.translations import Message, word

Change = tuple[str, str, Message]
"""Level, source, message."""

_BAD = tuple(v for v in Lag if v.severity in (Severity.WARNING, Severity.ERROR))


def changes(before: Snapshot, after: Snapshot) -> list[Change]:
    """Return the changes that an operator should see."""
    return [
        *_servers(before, after),
        *_brokers(before, after),
        *_lags(before, after),
        *_processes(before, after),
        *_scenarios(before, after),
        *_gradings(before, after),
        *_cache(before, after),
    ]


def _servers(before: Snapshot, after: Snapshot) -> Iterator[Change]:
    for name in SERVERS:
        old: Reading[object] = getattr(before, name)
        new: Reading[object] = getattr(after, name)
        if new.state is ReadingState.DOWN and old.state is not ReadingState.DOWN:
            yield "error", name, msg.AWAY(error=new.error)
        elif new.current and old.state is ReadingState.DOWN and old.failing_since:
            away = (after.at - old.failing_since).total_seconds()
            yield "info", name, msg.BACK(duration=duration(away))


def _brokers(before: Snapshot, after: Snapshot) -> Iterator[Change]:
    old, new = before.kafka.value, after.kafka.value
    if old is None or new is None:
        return
    if gone := sorted({*new.away} - {*old.away}):
        yield "warning", "kafka", msg.BROKERS_AWAY(ids=ids(gone))
    if back := sorted({*old.away} - {*new.away}):
        yield "info", "kafka", msg.BROKERS_BACK(ids=ids(back))
    if new.below_min and not old.below_min:
        yield "error", "kafka", msg.BELOW_MIN(count=new.below_min)
    elif old.below_min and new.below_min == 0:
        yield "info", "kafka", msg.BELOW_MIN_OVER()


def _lags(before: Snapshot, after: Snapshot) -> Iterator[Change]:
    if not after.kafka.current:
        return
    old = {t.name: t for t in before.kafka.value.topics} if before.kafka.value else {}
    for topic in after.kafka.value.topics if after.kafka.value else ():
        was = old[topic.name].was or old[topic.name].verdict if topic.name in old else Lag.UNKNOWN
        if topic.verdict is was:
            continue
        if topic.verdict in _BAD:
            yield (
                "warning",
                topic.group,
                msg.LAG(messages=topic.lag, verdict=word(topic.verdict.value)),
            )
        elif was in _BAD and topic.verdict is Lag.OK:
            yield "info", topic.group, msg.LAG_OVER()


def _processes(before: Snapshot, after: Snapshot) -> Iterator[Change]:
    old = {p.name: p for p in before.processes.value.processes} if before.processes.value else {}
    for process in after.processes.value.processes if after.processes.value else ():
        was = old.get(process.name)
        if was is not None and process.restarts > was.restarts:
            if process.last_exit and was.state != "backoff":  # it was back before the next reading
                yield "error", process.name, msg.ENDED(how=process.last_exit)
            how = msg.RESTARTED_AFTER if process.last_exit else msg.RESTARTED
            yield "warning", process.name, how(how=process.last_exit, pid=process.pid)
        elif was is not None and process.state == "backoff" and was.state != "backoff":
            yield "error", process.name, msg.ENDED(how=process.last_exit or "?")
        if was is not None and process.version and was.version not in ("", process.version):
            yield "info", process.name, msg.NEW_VERSION(version=process.version)


def _scenarios(before: Snapshot, after: Snapshot) -> Iterator[Change]:
    if before.processes.value is None or not (before.redis.current and after.redis.current):
        return  # they are in Redis: without it none is known
    old = before.processes.value.scenarios
    new = after.processes.value.scenarios if after.processes.value else ()
    for name in (s for s in new if s not in old):
        yield "info", "scenario", msg.SCENARIO_BEGAN(name=name)
    for name in (s for s in old if s not in new):
        yield "info", "scenario", msg.SCENARIO_ENDED(name=name)


def _gradings(before: Snapshot, after: Snapshot) -> Iterator[Change]:
    old, new = before.grades.value, after.grades.value
    run = new.run if new else None
    if run and old and (old.run is None or old.run.run_id != run.run_id):
        graded = msg.GRADED(upgraded=run.upgraded, downgraded=run.downgraded)
        yield "info", "grader", graded


def _cache(before: Snapshot, after: Snapshot) -> Iterator[Change]:
    (was, _), (now, _) = cache_phase(before), cache_phase(after)
    if was is now:
        return
    meta = after.redis.value.meta if after.redis.value else None
    if now is Phase.FAILED and meta:
        yield "error", "cache", msg.REFRESH_FAILED(error=meta.error)
    elif now is Phase.OVERDUE:
        yield "warning", "cache", msg.REFRESH_OVERDUE()
    elif was in (Phase.FAILED, Phase.OVERDUE) and now in (Phase.WAITING, Phase.REFRESHING):
        yield "info", "cache", msg.REFRESHED()
