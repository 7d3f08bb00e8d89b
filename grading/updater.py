"""Grade customers by what they paid in the last six months: every GRADE_INTERVAL, or --once."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import threading
import time
from dataclasses import asdict
from typing import Final

import psycopg

from grading.metrics import GraderMetrics
from grading.store import GradeRun, grade_users
from shop import command, metrics_endpoint, postgres
from shop.errors import ExitCode, JangteoError, UnreachableError, UsageError
from shop.grading_policy import POLICY, GradePolicy
from shop.log import get_logger
from shop.output import say
from shop.postgres import Connection
from shop.postgres.sqlstate import Verdict, judge
from shop.redis import cache, control
from shop.redis.heartbeat import EVERY_S as BEAT_EVERY_S
from shop.redis.heartbeat import HeartbeatSender
from shop.retry import Outage, backoff, first_line
from shop.server_clock import EVERY_S, ClocksDifferError
from shop.settings import PostgresSettings, Settings, announce

NAME: Final = "grader"
_LOOK_S: Final = 0.5
"""How often a waiting grader looks whether the operator asks for a run now."""
_ATTEMPTS: Final = 8
"""Tries of one run that PostgreSQL rolls back (deadlock, serialization) before --once gives up."""
_FULL_EVERY_S: Final = 86_400.0
"""A full run a day checks the incremental ones, and logs an error if they were wrong."""
_GRACE_S: Final = 2.0
"""Seconds for a run in progress to roll back after SIGTERM; the server does it in any case."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `jangteo grade`."""
    parser.add_argument(
        "--once", action="store_true", help="grade once, after any run in progress, then exit"
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="grade from all orders of the period, not only from what changed since the last run "
        "(with --once)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the result as one line of JSON (with --once)"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Grade once, or until stopped."""
    settings.require("grader")
    if args.once:
        announce.servers_in_production(settings, "postgres")
        policy = settings.grade_policy
        result = grade_once(settings.postgres, policy, full=args.full)
        _log(result)
        text = as_json(result) if args.json else as_table(result, policy)
        say(text)
    elif args.full:
        raise UsageError("--full needs --once; without it, a full run a day checks the others")
    elif args.json:
        raise UsageError("--json needs --once; without it, the log has the result of every run")
    else:
        announce.servers(settings, "postgres", "redis")
        Updater(settings, command.stop_on_signals()).run()
    return ExitCode.OK


def grade_once(
    where: PostgresSettings, policy: GradePolicy = POLICY, *, full: bool = False
) -> GradeRun:
    """Grade now, after any grader that is at work.

    Raises:
        JangteoError: says why it could not be done; nothing was changed then.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with postgres.connection(where, "grader", autocommit=True) as conn:
                result = grade_users(conn, wait=True, policy=policy, full=full)
        except psycopg.errors.TransactionRollback as e:
            get_logger().warning("rolled back, trying again", error=first_line(e))
            time.sleep(backoff(attempt))
        except psycopg.Error as e:
            raise _explained(e, where) from None
        else:
            assert result is not None  # noqa: S101  (who waits gets a turn)
            return result
    raise JangteoError(f"{where.where} rolled {_ATTEMPTS} runs back; nothing was changed")


class Updater:
    """The process: a run every interval, in a thread, so that signals and heartbeats never wait.

    Args:
        settings: GRADE_INTERVAL is divided by the speed, and not under a second.
        stop: ends the process when set.

    Raises:
        UnreachableError: if a wrong setting keeps Redis from us.
    """

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._where = settings.postgres
        self._settings = settings
        self._policy = settings.grade_policy
        self._metrics = GraderMetrics()
        self._interval = max(1.0, settings.grade_interval / settings.speed)
        self._stop = stop
        client = cache.optional_client(settings)
        if client is not None:
            cache.check(client, NAME)
        self._heartbeat = HeartbeatSender(client, NAME) if client else None
        self._asked = control.RunRequests(control.ControlReader(client, NAME)) if client else None
        self._conn: Connection | None = None
        self._state = "starting"
        self._last: GradeRun | None = None
        self._fatal: BaseException | None = None

    def run(self) -> None:
        """Work until stopped.

        Raises:
            JangteoError: if PostgreSQL refuses in a way that no retry fixes.
        """
        get_logger().info("grading", every_s=self._interval, database=self._where.where)
        metrics_endpoint.start(NAME, self._metrics.registry, self._settings)
        worker = threading.Thread(target=self._guarded, daemon=True)
        worker.start()
        while worker.is_alive():
            self._beat()
            if self._stop.wait(BEAT_EVERY_S):
                break
        if conn := self._conn:
            with contextlib.suppress(psycopg.Error):
                conn.cancel_safe(timeout=1.0)
        worker.join(_GRACE_S)
        if self._fatal is not None:
            raise self._fatal
        get_logger().info("stopped")

    def _guarded(self) -> None:
        try:
            self._work()
        except psycopg.Error as e:
            self._fatal = _explained(e, self._where)
        except Exception as e:  # the main thread raises it
            self._fatal = e

    def _work(self) -> None:
        outage = Outage(self._where.where)
        rollbacks = 0
        clocks_differ = False
        due = time.monotonic()
        while self._wait(due):
            due = min(due, time.monotonic())  # asked for early: the next one an interval from now
            self._state = "grading"
            try:
                result = self._attempt()
            except psycopg.errors.TransactionRollback as e:
                rollbacks += 1
                get_logger().warning("rolled back, trying again", error=first_line(e))
                due = time.monotonic() + backoff(rollbacks)
                continue
            except psycopg.Error as e:
                if self._stop.is_set():  # this process cancelled it
                    return
                if judge(e) is not Verdict.RETRY:
                    raise
                self._state = "PostgreSQL away"
                due = time.monotonic() + outage.failed(e)
                continue
            except ClocksDifferError as e:
                self._state = "clocks differ"
                if not clocks_differ:
                    get_logger().error("not grading", reason=str(e))
                clocks_differ = True
                due = time.monotonic() + EVERY_S
                continue
            clocks_differ = False
            outage.over()
            rollbacks = 0
            if result is None:
                get_logger().warning("another grader is at work, leaving it alone")
            else:
                self._last = result
                self._metrics.add(result)
                _log(result)
            self._state = "waiting"
            # After an outage or a suspended machine there is one run, not one for each missed.
            due = max(due + self._interval, time.monotonic())

    def _wait(self, due: float) -> bool:
        """Wait until a run is due or asked for; return False if stopped meanwhile."""
        while not self._stop.is_set():
            left = due - time.monotonic()
            if (self._asked is not None and self._asked()) or left <= 0:
                return True
            self._stop.wait(min(left, _LOOK_S))
        return False

    def _attempt(self) -> GradeRun | None:
        with postgres.connect(self._where, "grader", autocommit=True) as conn:
            self._conn = conn
            return grade_users(conn, wait=False, policy=self._policy, full_every_s=_FULL_EVERY_S)

    def _beat(self) -> None:
        if self._heartbeat is None:
            return
        run = (self._asked.seen if self._asked else None) or 0
        if last := self._last:
            self._heartbeat(
                self._state,
                run=run,
                last_run=last.finished_at.isoformat(),
                changed=last.changed,
                duration=last.seconds,
            )
        else:
            self._heartbeat(self._state, run=run)


def _explained(error: psycopg.Error, where: PostgresSettings) -> JangteoError:
    """Turn an error that no retry fixes into a line for a person."""
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return JangteoError(f"{where.where}: {first_line(error)}; run `jangteo init` first")
    if isinstance(error, psycopg.OperationalError):
        return UnreachableError(f"lost {where.where}: {first_line(error)}; nothing was changed")
    return JangteoError(f"{where.where} refuses: {first_line(error)}")


def _log(result: GradeRun) -> None:
    if result.disagreed:
        get_logger().error(
            "incremental grades were wrong; this full run fixed them", customers=result.disagreed
        )
    get_logger().info(
        "graded",
        mode=result.mode,
        users=result.users,
        changed=result.changed,
        upgraded=result.upgraded,
        downgraded=result.downgraded,
        seconds=round(result.seconds, 3),
        **result.distribution,
    )


def as_json(result: GradeRun) -> str:
    """Return a run as one JSON line."""
    record = asdict(result)
    for name in ("as_of", "started_at", "finished_at"):
        record[name] = record[name].isoformat()
    return json.dumps(record)


def as_table(result: GradeRun, policy: GradePolicy = POLICY) -> str:
    """Return a run as a short table for people."""
    width = max(9, len(f"{result.users:,}"))
    lines = [f"{'grade':<8} {'customers':>{width}} {'share':>7}"]
    for name, customers in result.distribution.items():
        share = customers / result.users if result.users else 0.0
        lines.append(f"{name:<8} {customers:>{width},} {share:>7.1%}")
    start, end = policy.window(result.as_of)
    lines.append(
        f"{result.changed:,} changed ({result.upgraded:,} up, {result.downgraded:,} down) by what "
        f"was paid from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC; {result.seconds:.2f} s"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m grading.updater", description=__doc__))
