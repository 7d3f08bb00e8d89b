"""Run the whole shop until stopped: servers, schema, topics, start population, every process.

Servers that are not named by an option or a variable are started on this machine.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

import psycopg
import redis
from confluent_kafka import KafkaException

from console.recording.keeper import ShopRecord
from jangteo.stack import options, readiness, retention, run_summary, screen
from jangteo.stack.accounting import (
    AccountingEvidence,
    OffsetAccounting,
    may_lack_profiles,
    read_evidence,
)
from jangteo.stack.first_start import FirstStart, terminal_of
from jangteo.stack.kafka import fallback, optional_topics
from jangteo.stack.kafka.broker import Broker
from jangteo.stack.observer import Observer, ShopSample
from jangteo.stack.server import Server
from jangteo.stack.servers import Stack, end_leftovers, held
from jangteo.stack.supervisor import ProcessSpec, Supervisor
from shop import command, kafka, postgres
from shop import settings as shop_settings
from shop.best_effort import BestEffort
from shop.clock import utc_now
from shop.errors import ExitCode, JangteoError, UsageError
from shop.events import TOPICS
from shop.output import say
from shop.postgres import window_length
from shop.process_status import ProcessState
from shop.redis import cache, control
from shop.retry import first_line
from shop.settings import Settings, embedded_ports

GENERATORS: Final = ("users", "products", "orders")
# In start order: the ingest joins its consumer groups while the others start.
COMMANDS: Final = {
    "ingest": ("bytewax.run", "flows.ingest"),
    "cache": ("generators.cache_worker",),
    "users": ("generators.users",),
    "products": ("generators.products",),
    "orders": ("generators.orders",),
    "grader": ("grading.updater",),
}
CONTINUATION: Final = {"continuation": ("generators.continuation",)}
"""Where a finished history is resumed, this replaces the generators."""
INGEST_GRACE_S: Final = 15.0  # it promises to end within 10 s
DRAIN_AFTER_STOP_S: Final = 20.0
DRAIN_AFTER_FOR_S: Final = 60.0
TICK_S: Final = 0.25  # ten looks a second were a third of the CPU of an idle `up`

configure = options.configure


class Up:
    """One run of the shop.

    Args:
        args: the options.
        data_dir: data directory, locked by the caller.
        environ: variables, including those of the options.
        view: where to write text for people.
        broker: class of the broker to start if no Kafka is given.
        since: when the command began.
        terminal: path of the terminal that a person watches; None if there is none.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        data_dir: Path,
        environ: dict[str, str],
        view: screen.Screen,
        broker: type[Server],
        *,
        since: datetime,
        terminal: str | None,
    ) -> None:
        self._args = args
        self._data_dir = data_dir
        self._screen = view
        self._say = view.say
        self._stop = command.stop_on_signals()
        signal.signal(signal.SIGHUP, lambda *_: self._stop.set())  # the terminal was closed
        self._environ = environ
        self._stack = Stack(data_dir, environ, self._say, broker=broker, unwanted=self._stop.is_set)
        self._supervisor = Supervisor(data_dir)
        self._first = FirstStart(
            args, lambda: self._stack.env, self._supervisor.log_of, self._quietly, self._say,
            terminal=terminal,
        )  # fmt: skip
        self._publishing = BestEffort(
            "stack.json (other commands do not find the stack)", report=self._say
        )
        self._published = True
        self._since = self._opened = since
        self._ends_at: float | None = None
        self._observer: Observer | None = None
        self._evidence: AccountingEvidence | None = None
        self._refreshes = 0
        self._sold = False
        self._restarts: dict[str, int] = {}
        self._commands: dict[str, tuple[str, ...]] = dict(COMMANDS)
        self._generators: tuple[str, ...] = GENERATORS

    def run(self) -> int:
        """Start, serve, drain, stop; return the exit code."""
        for name in end_leftovers(self._data_dir):
            self._say(f"ended {name}, left behind by an earlier run")
        try:
            self._stack.start()
            if self._stop.is_set():
                return ExitCode.OK
            return self._run(self._stack.settings)
        finally:
            self._first.end_profiles()
            self._supervisor.kill()
            self._stack.stop()
            self._supervisor.write_snapshot(self._stack.statuses(), force=True)
            self._say("stopped")
            self._screen.finish()

    def _run(self, settings: Settings) -> int:
        accounting = self._prepare(settings)
        if accounting is None or not self._seed(settings, accounting):
            return ExitCode.OK
        with postgres.connection(settings.postgres, "up", autocommit=True) as conn:
            self._evidence = read_evidence(conn) if self._accounts else None
        self._opened = utc_now()  # a history written just now ends before
        for name in self._commands:
            self._start(name)
        self._say(f"the shop is open; logs in {self._data_dir / 'logs'}; Ctrl-C stops")
        began = time.monotonic()
        seconds = self._args.seconds
        self._observer = Observer(settings, accounting)
        self._observer.start()
        record = ShopRecord(settings, self._data_dir)
        record.start()
        try:
            with self._screen.live():
                if seconds:
                    self._await_readiness(self._observer, seconds)
                self._loop(lambda: bool(self._ends_at and time.monotonic() >= self._ends_at))
                troubles = self._troubles() if seconds and not self._stop.is_set() else []
                self._wind_down(DRAIN_AFTER_FOR_S if seconds else DRAIN_AFTER_STOP_S)
        finally:
            record.stop()
            self._observer.stop()
        if not self._accounts:
            return ExitCode.OK
        return self._report(settings, accounting, troubles, time.monotonic() - began)

    def _await_readiness(self, observer: Observer, seconds: float) -> None:
        """Start the time of --for when every process has done its first work."""
        gives_up = time.monotonic() + readiness.WITHIN_S
        late = list(self._commands)  # once at work is enough: two shops may share a heartbeat

        def missing() -> list[str]:
            statuses = self._supervisor.snapshot()
            late[:] = readiness.not_ready(late, statuses, observer.latest.beats)
            return late

        self._loop(lambda: not missing() or time.monotonic() >= gives_up)
        self._ends_at = time.monotonic() + seconds
        who = f"not ready after {readiness.WITHIN_S:.0f} s: {', '.join(late)}" if late else "ready"
        self._say(f"{who}; the {seconds:g} s of --for begin now")

    @property
    def _accounts(self) -> bool:
        """Whether the run ends with a summary."""
        return bool(self._args.seconds or self._args.json)

    def _prepare(self, settings: Settings) -> OffsetAccounting | None:
        """Bring schema and topics up to date, publish the stack, open the accounting.

        A history is written before, if one is wanted; None if a signal came meanwhile.
        """
        with postgres.connection(settings.postgres, "up") as conn:
            if applied := postgres.migrate(conn):
                self._say(f"schema: applied {', '.join(applied)}")
        with postgres.connection(settings.postgres, "up", autocommit=True) as conn:
            if not self._first.history(conn):
                return None
        with postgres.connection(settings.postgres, "up") as conn:
            if self._first.resumes(conn, settings.speed):
                others = {k: v for k, v in self._commands.items() if k not in GENERATORS}
                self._commands, self._generators = {**others, **CONTINUATION}, tuple(CONTINUATION)
            alone = self._stack.embeds_postgres
            if rebuilt := window_length.fit(conn, settings.spend_window, alone=alone):
                self._say(window_length.describe(rebuilt))
        if created := kafka.create_topics(settings.kafka, (*TOPICS, *self._args.topics)):
            self._say(f"topics: created {', '.join(created)}")
        if topics := optional_topics.switched_on(settings.kafka, self._environ):
            self._say(f"optional topics: {', '.join(topics)}")
            self._commands |= optional_topics.commands(topics)
            self._generators += (optional_topics.PROCESS,)
        if changed := retention.keep_profiles(settings.kafka):
            self._say(f"topics: changed {'; '.join(changed)}")
        self._published = self._publishing.attempt(self._stack.publish)
        accounting = OffsetAccounting(settings.kafka)
        with postgres.connection(settings.postgres, "up", autocommit=True) as conn:
            accounting.open(conn)
        if unread := sum(accounting.unread.values()):
            self._say(f"{unread:,} messages of an earlier run are unread; the ingest takes them")
        with cache.client(settings.redis_url) as client:
            self._refreshes = cache.read_meta(client).version
            self._restarts = control.restarts(client)
        return accounting

    def _start(self, name: str) -> None:
        argv = [sys.executable, "-m", *self._commands[name]]
        grace = INGEST_GRACE_S if name == "ingest" else 10.0
        self._supervisor.start(ProcessSpec(name, argv, self._stack.env, grace))
        self._supervisor.write_snapshot(self._stack.statuses(), force=True)

    def _seed(self, settings: Settings, accounting: OffsetAccounting) -> bool:
        """Create the start population if there are no customers; False if stopped meanwhile.

        If there are customers, publish in the background those that the topics may lack: a
        history was written, or the topics were recreated.

        Raises:
            JangteoError: if it fails.
        """
        with postgres.connection(settings.postgres, "up", autocommit=True) as conn:
            if conn.execute("SELECT 1 FROM users LIMIT 1").fetchone():
                if may_lack_profiles(conn, accounting.logs):
                    self._say("publishing customers and products that the topics may lack")
                    self._first.publish_profiles()
                return True
        return self._first.population()

    def _loop(self, until: Callable[[], bool], *, shown: bool = True) -> bool:
        """Look after servers and processes until a condition holds; False if a signal came."""
        while not self._stop.is_set():
            if until():
                return True
            self._stack.poll()
            self._obey()
            self._first.poll()
            for text in self._supervisor.poll():
                self._say(text)
            self._supervisor.write_snapshot(self._stack.statuses())
            if not self._published:
                self._published = self._publishing.attempt(self._stack.publish)
            if shown:
                self._announce_first_order()
                self._screen.show(self._view)
            self._stop.wait(TICK_S)
        return False

    def _announce_first_order(self) -> None:
        """Report once how long after the start the shop's first new order was stored."""
        seen = self._observer.latest.orders if self._observer and not self._sold else ()
        if first := [order for order in seen if order.ordered_at >= self._opened][-1:]:
            self._sold = True
            took = (utc_now() - self._since).total_seconds()
            told = screen.sentence(first[0], self._stack.settings.lang)
            self._say(f"first order stored {took:.1f} s after the start: {told}")

    def _quietly(self, until: Callable[[], bool]) -> bool:
        return self._loop(until, shown=False)

    def _obey(self) -> None:
        """Restart the processes that the operator has asked to restart since the last call."""
        asked = self._observer.latest.restarts if self._observer else {}
        for name, times in asked.items():
            if self._restarts.get(name) != times:
                self._restarts[name] = times
                known = self._supervisor.restart(name)
                self._say(f"{name}: " + ("restarting, as asked" if known else "no such process"))

    def _view(self) -> screen.StatusView:
        return screen.StatusView(
            data_dir=self._data_dir,
            since=self._since,
            speed=self._stack.settings.speed,
            lang=self._stack.settings.lang,
            ends_in=self._ends_at and self._ends_at - time.monotonic(),
            servers=self._stack.describe(),
            statuses=[*self._stack.statuses(), *self._supervisor.snapshot()],
            sample=self._observer.latest if self._observer else ShopSample(),
        )

    def _troubles(self) -> list[str]:
        """Return a line for each process that is down now."""
        return [
            f"{s.name} is down ({s.last_exit}, {s.restarts} restarts; see "
            f"{self._supervisor.log_of(s.name)})"
            for s in self._supervisor.snapshot()
            if s.state == ProcessState.BACKOFF.value
        ]

    def _wind_down(self, drain: float) -> None:
        """Stop the generators, let the ingest take what is published, stop the rest.

        The signal that began it is cleared; another one cuts each wait short.
        """
        self._stop.clear()
        self._say("stopping the generators")
        self._first.end_profiles()
        self._supervisor.stop(self._generators)
        patient = self._loop(lambda: self._supervisor.stopped(self._generators))
        if patient and self._observer:
            patient = self._drain(self._observer, time.monotonic() + drain)
        if not patient:
            self._stop.clear()
            self._say("stopping at once: unread messages wait for the next start")
        self._say("stopping the other processes")
        self._supervisor.stop(self._supervisor.names)
        self._loop(self._supervisor.stopped)

    def _drain(self, observer: Observer, deadline: float) -> bool:
        """Wait until the ingest has taken everything published; False if a signal came."""
        began = time.monotonic()
        observer.hasten()
        self._say("letting the ingest take what is published")

        def drained() -> bool:
            seen = observer.latest
            done = seen.counted >= began and seen.lag == 0
            return done or time.monotonic() >= deadline

        patient = self._loop(drained)
        if observer.latest.lag:
            self._say(f"{observer.latest.lag} messages are left")
        return patient

    def _report(
        self, settings: Settings, accounting: OffsetAccounting, troubles: list[str], seconds: float
    ) -> ExitCode:
        """Compare the counts, print the summary; return whether all is well."""
        try:
            result = run_summary.summarize(
                settings, accounting, self._evidence, refreshes=self._refreshes, seconds=seconds
            )
        except (KafkaException, psycopg.Error, redis.RedisError) as e:
            raise JangteoError(f"the run cannot be accounted for: {first_line(e)}") from None
        result.differences.extend(self._observer.latest.stalls if self._observer else ())
        if self._args.seconds and not sum(result.account.published.values()):
            result.differences.append("nothing was published")
        self._say(result.line())
        self._screen.finish()
        if self._args.json:
            say(result.as_json())
        wrong = troubles + result.differences
        if wrong:
            say(f"jangteo up: {'; '.join(wrong)}", to=sys.stderr)
        return ExitCode.FAILED if wrong else ExitCode.OK


def run(args: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001  (every command has both)
    """Run the shop until stopped, or for the given time."""
    since = utc_now()  # before Kafka is fetched, which a person waits for as well
    # Not the settings we are given: a stack that runs already would have filled them in.
    environ = {**os.environ, **options.environment(args)}
    data_dir = options.data_dir(args)
    checked = shop_settings.load(environ, data_dir=data_dir, use_stack=False)
    checked.require()  # its processes read all of them
    if args.resume and checked.speed != 1:
        raise UsageError(
            "--continue follows the clock at speed 1: leave --speed and SHOP_SPEED out"
        )
    embedded_ports(environ)
    given = bool(environ.get("KAFKA_BOOTSTRAP_SERVERS"))
    options.check_servers(checked)
    checked.refuse_invented("run a made-up shop", allowed=args.yes_production)
    allowed = {"ALLOW_INVENTED_DATA": "yes"} if args.yes_production else {}
    console = screen.ShopConsole(stderr=bool(args.json))
    plain = bool(args.plain or args.json)
    with held(data_dir):
        view = screen.make(console, plain=plain)
        bar = None if plain else console
        rates = {"SHOP_SPEED": str(checked.speed), "SHOP_SEED": str(checked.seed)}
        broker = Broker if given else fallback.broker(view.say, terminal=bar)
        watched = terminal_of(plain=plain)
        env = {**checked.env, **rates, **allowed}
        return Up(args, data_dir, env, view, broker, since=since, terminal=watched).run()


if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m jangteo.stack.up", description=__doc__))
