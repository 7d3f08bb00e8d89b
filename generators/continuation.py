"""Resume a finished backfill in real time: publish what a longer history would have contained.

It replaces the generators of users, products and orders. Each event is published when the clock
reaches it, with the time, customer and ids that a history up to then would have given it.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final

import polars as pl
import redis

from generators.history.plan import Day, Plan
from generators.history.progress import progress
from generators.history.resume import store
from generators.history.resume.events import ResumedEvents
from generators.history.resume.publisher import NAME, ResumePublisher
from generators.history.resume.store import Left, Position
from generators.history.simulation import Simulation
from generators.history.state import StateError, unpack
from generators.options import invented
from generators.publishing.event_producer import EventProducer
from generators.publishing.loop import TopicOutput
from generators.publishing.order_lifecycle import OrderLifecycle
from generators.random_streams import stream
from generators.scenarios import control, timetable
from shop import command, grading_policy, kafka, node_lease, postgres
from shop.clock import UTC, Clock, parse_time, utc_now
from shop.errors import ExitCode, UnreachableError
from shop.events import SCHEMAS, TOPICS
from shop.log import get_logger
from shop.node_lease import NodeLease
from shop.postgres import Connection
from shop.redis import cache
from shop.redis.control import ControlReader
from shop.redis.heartbeat import HeartbeatSender
from shop.server_clock import ClockWatch
from shop.settings import Settings, announce

_MANY: Final = 7
"""Days to simulate again from which a progress bar is shown."""


def moment(text: str) -> datetime:
    """Read a moment, for argparse; without an offset it is UTC."""
    return parse_time(text, zone=UTC)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "--speed", type=command.positive, metavar="X",
        help="publish X seconds of the history per second until it has caught up with the clock",
    )  # fmt: skip
    parser.add_argument(
        "--until", type=moment, metavar="TIME", help="stop at TIME, such as 2026-11-20T09:00Z"
    )
    invented(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Publish until stopped."""
    settings.require("generator")
    settings.refuse_invented("publish a made-up shop", allowed=args.yes_production)
    announce.servers(settings, "postgres", "kafka", "redis")
    stop = command.stop_on_signals()
    r = cache.client(settings.redis_url)
    with postgres.connection(settings.postgres, NAME, autocommit=True) as conn:
        left = store.find(conn)
    with node_lease.leased(settings.postgres, NAME, stop, exact=left.request.node) as held:
        if held is None:
            return ExitCode.OK
        return _continue(args, settings, left, r, held, stop)


def _continue(  # noqa: PLR0917  (what `run` has)
    args: argparse.Namespace, settings: Settings, left: Left, r: redis.Redis, held: NodeLease,
    stop: threading.Event,
) -> int:  # fmt: skip
    position = Position(r, left.name)
    heartbeat = HeartbeatSender(r, NAME)
    with postgres.connection(settings.postgres, NAME, autocommit=True) as conn:
        try:
            events = resume(
                conn, left, position, held.clock(), stop=stop, beat=lambda: heartbeat("starting")
            )
        except redis.RedisError as e:
            raise UnreachableError(f"cannot reach Redis: {cache.explain(e)}") from None
    if stop.is_set():
        return ExitCode.OK
    _warn(r, left, held.clock())
    start = events.marks["orders"]
    clock = catching_up(start, args.speed, clock=held.clock) if args.speed else held.clock
    clocks = ClockWatch(None, r, stop, clock=held.clock)
    clocks.start()
    publisher = ResumePublisher(
        events,
        position,
        OrderLifecycle(r, stream(left.request.seed, NAME), clock=_not_beyond(clock, args.until)),
        [_output(topic, settings, r, held.clock.stamp) for topic in TOPICS],
        clock=clock,
        until=args.until,
        seed=left.request.seed,
        heartbeat=heartbeat,
        running=_calendar(left.request.seed) if left.request.scenarios else lambda _: "",
        where=settings.kafka.where,
        hindered=lambda: held.trouble or clocks.trouble,
    )
    get_logger().info("continuing", end=left.end.isoformat(), since=start.isoformat())
    publisher.check(stop, publisher.run(stop))
    return ExitCode.OK


def resume(
    conn: Connection,
    left: Left,
    position: Position,
    now: datetime,
    *,
    stop: threading.Event,
    beat: Callable[[], None] = lambda: None,
) -> ResumedEvents:
    """Return what is to come after what is published; remember what is still to be undone.

    Args:
        conn: the history's database.
        left: of the history.
        position: how far an earlier process was.
        now: the clock.
        stop: ends the simulation of days that are published already; the result is then void.
        beat: called once a day.

    Raises:
        redis.RedisError: if Redis does not answer.
    """
    simulation = _simulation(left)
    known = position.load()
    marks = known or _first_marks(left, now)
    events = ResumedEvents(simulation, marks, left.end)
    days = (marks["orders"] - events.ahead) // timedelta(days=1) + 1

    def again() -> Iterator[Day]:
        while events.ahead <= marks["orders"] and not stop.is_set():
            beat()
            yield events.simulate()

    for _ in (
        progress(again(), simulation.next_day + days, skip=1 << 20) if days > _MANY else again()
    ):
        pass
    if not known and not stop.is_set():
        nothing = pl.DataFrame(schema=SCHEMAS["orders"])
        pending = nothing if left.pending is None else left.pending
        undone = pl.concat([pending, events.undone]).unique("order_id", maintain_order=True)
        position.save(marks, store.still_paid(conn, undone))
    return events


def _simulation(left: Left) -> Simulation:
    """Return the simulation at the beginning of the history's last day, or of its first."""
    plan = _plan(left)
    simulation = Simulation(plan)
    if not left.state:
        get_logger().warning(
            "the state of the history is missing: simulating it again", days=plan.days
        )
        return simulation
    try:
        unpack(simulation, left.state)
    except StateError as e:
        get_logger().warning(
            f"the state of the history cannot be used, {e}: simulating it again", days=plan.days
        )
        return Simulation(plan)
    return simulation


def _plan(left: Left) -> Plan:
    text = left.request.policy
    return left.request.plan(
        left.end, grading_policy.parse(text) if text else grading_policy.POLICY
    )


def _first_marks(left: Left, now: datetime) -> dict[str, datetime]:
    """Return where nobody has begun yet, or Redis has forgotten it.

    Orders that are stored already are of this history, or of the ordinary generators, which ran
    after it: that time has its orders. Of customers and products the ingest knows what it has.
    """
    orders = left.end
    if left.newest is not None:
        orders = max(orders, min(left.newest + timedelta(microseconds=1), now))
    return {"users": left.end, "products": left.end, "orders": orders}


def _output(
    topic: str, settings: Settings, r: redis.Redis, stamp: Callable[[], int]
) -> TopicOutput:
    producer = EventProducer(
        topic, lambda **o: kafka.producer(settings.kafka, NAME, **o), stamp=stamp
    )
    return TopicOutput(topic, producer, ControlReader(r, topic), HeartbeatSender(r, topic))


def _warn(r: redis.Redis, left: Left, now: datetime) -> None:
    """Say what of the operator's will has no effect."""
    try:
        started = control.started(r, now)
    except redis.RedisError:
        return
    if started:
        get_logger().warning(
            "scenarios without effect: those of the history are drawn already",
            scenarios=",".join(started), history=left.end.isoformat(),
        )  # fmt: skip


def _calendar(seed: int) -> Callable[[datetime], str]:
    def running(at: datetime) -> str:
        second = at.timestamp()
        spans = timetable.between(seed, second, second + 1)
        return ",".join(timetable.compose(s for s in spans if s.start <= second < s.end).running)

    return running


def catching_up(
    start: datetime,
    speed: float,
    *,
    clock: Clock = utc_now,
    monotonic: Callable[[], float] = time.monotonic,
) -> Clock:
    """Return a clock that begins at a moment, runs faster, and is never ahead of another.

    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> seconds = iter([0.0, 2.0, 9.0])
    >>> now = catching_up(noon, 60, clock=lambda: noon + timedelta(minutes=5),
    ...                   monotonic=lambda: next(seconds))
    >>> now().minute, now().minute
    (2, 5)
    """
    began = monotonic()
    return lambda: min(clock(), start + timedelta(seconds=(monotonic() - began) * speed))


def _not_beyond(clock: Clock, until: datetime | None) -> Clock:
    return clock if until is None else lambda: min(clock(), until)


if __name__ == "__main__":
    sys.exit(
        command.main(configure, run, prog="python -m generators.continuation", description=__doc__)
    )
