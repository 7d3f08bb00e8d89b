"""What is wrong in a snapshot, as conditions that a notification can name. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from console import rules
from console import translations as msg
from console.snapshot.model import SERVERS, Lag, Snapshot
from console.snapshot.reading import ReadingState
from console.snapshot.severity import Severity
from console.translations import Message, word

ConditionKey = tuple[str, str]
"""Kind, and what it concerns: a server, a consumer group, a process."""


@dataclass(frozen=True)
class Condition:
    """Something that is wrong: `level` is warning or error."""

    level: str
    message: Message


@dataclass
class Judgement:
    """What is wrong, and what cannot be judged now.

    Attributes:
        found: the conditions that hold.
        kinds: of which nothing is known now.
        keys: of which nothing is known now, one by one.
    """

    found: dict[ConditionKey, Condition] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)
    keys: set[ConditionKey] = field(default_factory=set)

    def unknown(self, key: ConditionKey) -> bool:
        """Return whether a condition that is not found may hold all the same."""
        return key not in self.found and (key[0] in self.kinds or key in self.keys)


def judge(snapshot: Snapshot) -> Judgement:
    """Return the conditions of a snapshot; what is not known is neither wrong nor in order."""
    judgement = Judgement()
    _servers(snapshot, judgement)
    _kafka(snapshot, judgement)
    _cache(snapshot, judgement)
    for key, condition in _named("process", "error", rules.process_troubles(snapshot)):
        judgement.found[key] = condition
    if not (snapshot.processes.current and snapshot.redis.current):
        judgement.kinds.add("process")  # heartbeats are in Redis
    for key, condition in _named("clock", "warning", rules.clock_troubles(snapshot)):
        judgement.found[key] = condition
    if not (snapshot.redis.current and snapshot.postgres.current):
        judgement.kinds.add("clock")
    return judgement


def _named(
    kind: str, level: str, messages: list[Message]
) -> Iterator[tuple[ConditionKey, Condition]]:
    for message in messages:
        yield (kind, str(message.values["name"])), Condition(level, message)


def _servers(snapshot: Snapshot, judgement: Judgement) -> None:
    for name in SERVERS:
        reading = getattr(snapshot, name)
        key = "server", name
        if reading.state is ReadingState.DOWN:
            error = reading.error or msg.NO_ANSWER()
            judgement.found[key] = Condition("error", msg.OF(name=name, error=error))
        elif reading.state is ReadingState.SLOW:
            seconds = f"{(reading.latency_ms or 0) / 1000:.1f}"
            judgement.found[key] = Condition("warning", msg.IS_SLOW(name=name, seconds=seconds))
        elif reading.state is not ReadingState.OK:
            judgement.keys.add(key)


def _kafka(snapshot: Snapshot, judgement: Judgement) -> None:
    view = snapshot.kafka.value
    if view is None or not snapshot.kafka.current:
        judgement.kinds |= {"lag", "brokers"}
        return
    for topic in view.topics:
        key = "lag", topic.group
        severity, text = rules.topic_state(topic)
        if severity in (Severity.WARNING, Severity.ERROR):
            level = "error" if severity is Severity.ERROR else "warning"
            message = msg.OF(name=topic.group, error=text)
            if not topic.error and not topic.troubles:
                said = msg.LAG(messages=topic.lag, verdict=word(topic.verdict.value))
                message = msg.OF(name=topic.group, error=said)
            judgement.found[key] = Condition(level, message)
        elif topic.verdict is Lag.UNKNOWN:
            judgement.keys.add(key)
    if view.away:
        away = msg.BROKERS_AWAY(ids=rules.ids(view.away))
        judgement.found["brokers", "away"] = Condition("warning", away)
    if view.below_min:
        below = msg.BELOW_MIN(count=view.below_min)
        judgement.found["brokers", "below min ISR"] = Condition("error", below)
    elif view.below_min is None:
        judgement.keys.add(("brokers", "below min ISR"))


def _cache(snapshot: Snapshot, judgement: Judgement) -> None:
    phase, left = rules.cache_phase(snapshot)
    key = "cache", "refresh"
    if phase is rules.Phase.FAILED and snapshot.redis.value:
        error = snapshot.redis.value.meta.error
        judgement.found[key] = Condition("error", msg.CACHE_FAILED(error=error))
    elif phase is rules.Phase.OVERDUE:
        seconds = f"{-(left or 0):.0f}"
        judgement.found[key] = Condition("warning", msg.CACHE_OVERDUE(seconds=seconds))
    elif phase is rules.Phase.UNKNOWN:
        judgement.keys.add(key)
