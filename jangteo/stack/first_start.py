"""What an empty shop begins with: a start population, or a history that it then resumes."""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from jangteo.stack.spawn import end, spawn, tail
from shop import settings as shop_settings
from shop.clock import seconds_of
from shop.errors import JangteoError, UsageError
from shop.optional.registry import switches_of
from shop.postgres import BACKFILL_LOCK, Connection

OFFERED_DAYS: Final = 90
"""The history that a person is offered: long enough for grades and cohorts, and written in about a
minute on two cores."""
ANSWER_S: Final = 20.0
"""Without an answer within this time the shop opens without a past: somebody may have left."""
_ASKED: Final = {
    "en": f"""\
This shop has no past yet. Write a history of {OFFERED_DAYS} days first, so that grades, cohorts \
and dashboards have something to show (about a minute, 1.5 GB)?
Type y and Enter for yes; without an answer in {ANSWER_S:.0f} s it opens empty""",
    "ko": f"""\
아직 과거가 없는 쇼핑몰입니다. 등급, 코호트, 대시보드에 볼거리가 있도록 {OFFERED_DAYS}일 치 과거를 \
먼저 만들까요(약 1분, 1.5 GB)?
만들려면 y를 입력하고 Enter를 누르세요. {ANSWER_S:.0f}초 동안 답이 없으면 빈 채로 엽니다""",
}
"""The question of a first start, by language, and how to answer it."""
_DATED: Final = re.compile(r"^timestamp=\S+ level=\S+ process=\S+ (?=event=)")
_DAY_S: Final = 86_400
_HISTORY_GRACE_S: Final = 15.0  # it finishes the day in hand


def days(text: str) -> int:
    """Read the length of a history in whole days, for argparse: 90d, or 0 for none.

    >>> days("90d"), days("0")
    (90, 0)
    """
    number, rest = divmod(seconds_of(text), _DAY_S)
    if rest:
        raise argparse.ArgumentTypeError(f"{text!r}: expected whole days, such as 90d, or 0")
    return int(number)


class FirstStart:
    """Fills a shop that has no customers.

    Args:
        args: the options of `jangteo up`.
        env: returns the environment of the children.
        log_of: returns the log file of a child by its name.
        await_: waits until a condition holds; returns False if a signal came first.
        say: takes a line for people.
        terminal: path of the terminal that a person watches; None if there is none.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        env: Callable[[], Mapping[str, str]],
        log_of: Callable[[str], Path],
        await_: Callable[[Callable[[], bool]], bool],
        say: Callable[[str], None],
        *,
        terminal: str | None,
    ) -> None:
        self._args = args
        self._env = env
        self._log_of = log_of
        self._await = await_
        self._say = say
        self._terminal = terminal
        self._profiles: subprocess.Popen[bytes] | None = None
        self._awaited = False

    def history(self, conn: Connection) -> bool:
        """Write the history that is asked for, or complete an unfinished one.

        Args:
            conn: to the shop's database, whose schema is up to date; without a transaction.

        Returns:
            False if a signal came meanwhile.

        Raises:
            UsageError: if one is asked for in a shop that is not empty and has none.
            JangteoError: if writing it fails.
        """
        run = _one(conn, "SELECT request, finished_at IS NOT NULL FROM backfill_runs")
        if run and not run[1]:
            return self._complete(conn, json.loads(run[0]))
        wanted = self._args.history
        if _one(conn, "SELECT FROM users LIMIT 1") is not None:
            if wanted and not run:
                raise UsageError(
                    "--history: the shop already has customers but no history; `jangteo reset` "
                    "empties it, `jangteo backfill --truncate` replaces them while it runs"
                )
            if wanted and run and wanted != (written := json.loads(run[0])["days"]):
                self._say(
                    f"--history: the shop already has a {written}-day history; `jangteo reset`,"
                    f" then `jangteo up --history {wanted}d` writes another one"
                )
            return True
        if wanted is None and self._offered() and (wanted := self._ask()) is None:
            return False
        return self._write(["--days", str(wanted), *_with(self._args.topics)]) if wanted else True

    def resumes(self, conn: Connection, speed: float) -> bool:
        """Return whether the shop resumes a finished history; say so, or why it does not.

        Raises:
            UsageError: if that was asked for and no history is finished.
        """
        finished = conn.execute(
            "SELECT 1 FROM backfill_runs WHERE finished_at IS NOT NULL"
        ).fetchone()
        if self._args.resume and not finished:
            raise UsageError(
                "--continue: there is no finished history; `jangteo up --history 90d` writes one "
                "in an empty shop"
            )
        if self._args.resume is not None or not finished:
            return bool(self._args.resume)
        if speed != 1:
            self._say(
                f"the finished history follows the clock at speed 1: at speed {speed:g} it is not "
                "resumed, and the ordinary generators run"
            )
            return False
        self._say("resuming the finished history; --no-continue runs the ordinary generators")
        return True

    def population(self) -> bool:
        """Create the start population; return False if a signal came meanwhile.

        There is none while another process writes a history.

        Raises:
            JangteoError: if it fails.
        """
        if self._awaited:
            return True
        sizes = [("--users", self._args.users), ("--products", self._args.products)]
        words = [part for name, size in sizes if size is not None for part in (name, str(size))]
        log = self._log_of("seed")
        began = time.monotonic()
        if (code := self._child("generators.seed", words, log, 5.0)) is None:
            return False
        if code:
            raise JangteoError(f"the start population could not be made: {tail(log)} (see {log})")
        self._say(f"start population made ({time.monotonic() - began:.1f} s)")
        return True

    # -- a history ---------------------------------------------------------------------------

    def _complete(self, conn: Connection, request: dict[str, Any]) -> bool:
        """Resume an unfinished history by its own parameters, unless somebody writes it now."""
        writer = _one(
            conn,
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())",
            BACKFILL_LOCK,
        )
        if writer:
            self._say("another process is writing a history; the shop waits for it")
            self._awaited = True
            return True
        self._say(
            f"completing the unfinished {request['days']}-day history; "
            "`jangteo backfill --discard` gives it up"
        )
        words = ["--days", str(request["days"]), "--seed", str(request["seed"])]
        words += ["--orders-per-day", str(request["orders_per_day"])]
        words += ["--end", request["end"]] if request["end"] else []
        words += [] if request["scenarios"] else ["--no-scenarios"]
        words += _with(request.get("topics", ()))
        return self._write(words)

    def _write(self, words: list[str]) -> bool:
        """Write a history; its progress is on the terminal, or copied from its log."""
        log = Path(self._terminal) if self._terminal else self._log_of("backfill")
        began = time.monotonic()
        code = self._child("generators.backfill", words, log, _HISTORY_GRACE_S)
        if code is None:
            self._say("the history is not finished; the next start completes it")
            return False
        if code:
            why = "see above" if self._terminal else f"{tail(log)} (see {log})"
            raise JangteoError(f"the history could not be written: {why}")
        self._say(f"history written ({time.monotonic() - began:.0f} s)")
        return True

    def _offered(self) -> bool:
        """Return whether a person is there to ask, and nothing on the command line decides."""
        args = self._args
        decided = args.seconds or args.users is not None or args.products is not None
        return bool(self._terminal and not decided and args.resume is None)

    def _ask(self) -> int | None:
        """Ask for a history; return its days, 0 for none; None if a signal came meanwhile."""
        lang = shop_settings.load(self._env(), use_stack=False).lang
        for line in _ASKED[lang].splitlines():
            self._say(line)
        gives_up = time.monotonic() + ANSWER_S

        def answered() -> bool:
            return bool(select.select([sys.stdin], [], [], 0)[0]) or time.monotonic() >= gives_up

        if not self._await(answered):
            return None
        came = time.monotonic() < gives_up
        if came and sys.stdin.readline().strip().lower() in {"y", "yes", "네", "예"}:
            self._say(f"writing a history of {OFFERED_DAYS} days")
            return OFFERED_DAYS
        self._say(
            "no history; to write one later: `jangteo reset`, then "
            f"`jangteo up --history {OFFERED_DAYS}d`"
        )
        return 0

    def publish_profiles(self) -> None:
        """Publish in the background the customers and products that the topics may lack."""
        argv = [sys.executable, "-m", "generators.profiles"]
        self._profiles = spawn(argv, log=self._log_of("profiles"), env=self._env())

    def poll(self) -> None:
        """Notice the end of that publishing, and say so if it failed."""
        code = self._profiles.poll() if self._profiles else None
        if code is not None:
            self._profiles = None
            if code:
                self._say(
                    f"publishing customers and products ended with {code} "
                    f"({self._log_of('profiles')}); the next start resumes it"
                )

    def end_profiles(self) -> None:
        """End that publishing; the next start resumes it."""
        if self._profiles:
            end(self._profiles, signal.SIGTERM, 5.0)
            self._profiles = None

    def _child(self, module: str, words: list[str], log: Path, grace: float) -> int | None:
        """Run a command to its end; return its exit code, None if a signal came meanwhile."""
        copied = _Copy(log, self._say) if not self._terminal else None
        process = spawn([sys.executable, "-m", module, *words], log=log, env=self._env())

        def over() -> bool:
            if copied and module == "generators.backfill":
                copied.next_lines()
            return process.poll() is not None

        try:
            finished = self._await(over)
        finally:
            end(process, signal.SIGTERM, grace)
        return process.returncode if finished else None


class _Copy:
    """Copies the lines that a child appends to its log."""

    def __init__(self, log: Path, say: Callable[[str], None]) -> None:
        self._log = log
        self._say = say
        self._read = log.stat().st_size if log.exists() else 0

    def next_lines(self) -> None:
        """Copy the lines that are complete."""
        try:
            with self._log.open("rb") as file:
                file.seek(self._read)
                whole, _, _ = file.read().rpartition(b"\n")
        except OSError:
            return
        if whole:
            self._read += len(whole) + 1
            for line in whole.decode(errors="replace").splitlines():
                self._say(_DATED.sub("", line))


def _with(topics: Sequence[str]) -> list[str]:
    return ["--with", switches_of(topics)] if topics else []


def terminal_of(*, plain: bool) -> str | None:
    """Return the path of the terminal on which a person can answer; None if there is none."""
    if plain or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    try:
        return os.ttyname(sys.stderr.fileno())
    except OSError:
        return None


def _one(conn: Connection, query: str, *values: object) -> tuple[Any, ...] | None:
    return conn.execute(query.encode(), values).fetchone()
