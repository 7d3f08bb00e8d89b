"""What an empty shop begins with: a history that is asked for, or completed."""

from __future__ import annotations

import argparse
import os
import pty
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from generators.history.request import HistoryRequest
from jangteo.stack import first_start
from jangteo.stack.first_start import FirstStart, days
from jangteo.stack.spawn import spawn
from shop.errors import JangteoError, UsageError
from shop.postgres import BACKFILL_LOCK, Connection
from shop.settings import Settings
from tests.support.waiting import wait_until


class Start:
    """A `FirstStart` without a terminal, its words, and a signal that comes when it is wanted."""

    def __init__(
        self,
        env: dict[str, str],
        folder: Path,
        *,
        history: int | None = None,
        terminal: str | None = None,
    ) -> None:
        self.said: list[str] = []
        self.stopped = False
        args = argparse.Namespace(
            history=history, users=None, products=None, seconds=None, resume=None, topics=()
        )
        self.first = FirstStart(
            args, lambda: env, lambda name: folder / f"{name}.log", self._wait, self.said.append,
            terminal=terminal,
        )  # fmt: skip

    def _wait(self, until: Callable[[], bool]) -> bool:
        while not until():
            if self.stopped:
                return False
            time.sleep(0.05)
        return True


def begin(pg: Connection, request: HistoryRequest) -> None:
    pg.execute(
        "INSERT INTO backfill_runs (request, ends_at, fingerprint)"
        " VALUES (%s, '2026-03-04T15:00:00Z', 0)",
        (request.as_json(),),
    )


def test_an_unfinished_history_is_completed_by_its_own_parameters(
    env: dict[str, str], settings: Settings, pg: Connection, tmp_path: Path
) -> None:
    policy = settings.grade_policy.as_json()
    begin(pg, HistoryRequest(days=1, orders_per_day=300, seed=7, scenarios=False, policy=policy))
    start = Start(env, tmp_path, history=90)
    assert start.first.history(pg)
    assert start.said[0].startswith("completing the unfinished 1-day history; ")
    row = pg.execute(
        "SELECT finished_at IS NOT NULL, orders, (SELECT count(*) FROM users) FROM backfill_runs"
    ).fetchone()
    assert row is not None
    assert row[0]
    assert row[1] > 100
    assert row[2] > 1000
    assert start.first.resumes(pg, speed=1)
    assert not start.first.resumes(pg, speed=50)


def test_a_history_that_another_process_writes_is_left_to_it(
    env: dict[str, str], pg: Connection, tmp_path: Path
) -> None:
    begin(pg, HistoryRequest(days=1))
    pg.execute("SELECT pg_advisory_lock(%s)", (BACKFILL_LOCK,))
    start = Start(env, tmp_path)
    assert start.first.history(pg)
    assert start.first.population()
    assert start.said == ["another process is writing a history; the shop waits for it"]
    assert not list(tmp_path.glob("*.log"))


def test_a_shop_with_customers_takes_no_history(
    env: dict[str, str], pg: Connection, tmp_path: Path
) -> None:
    pg.execute("INSERT INTO users (user_id) VALUES (1)")
    with pytest.raises(UsageError, match="jangteo reset"):
        Start(env, tmp_path, history=90).first.history(pg)
    assert Start(env, tmp_path).first.history(pg)
    assert Start(env, tmp_path, history=0).first.history(pg)


def test_a_history_of_another_length_is_reported_and_stays(
    env: dict[str, str], pg: Connection, tmp_path: Path
) -> None:
    begin(pg, HistoryRequest(days=40))
    pg.execute("UPDATE backfill_runs SET finished_at = now()")
    pg.execute("INSERT INTO users (user_id) VALUES (1)")
    same, other = (Start(env, tmp_path, history=days) for days in (40, 90))
    assert same.first.history(pg)
    assert not same.said
    assert other.first.history(pg)
    assert "already has a 40-day history" in other.said[0]


def test_a_history_that_fails_says_why(env: dict[str, str], pg: Connection, tmp_path: Path) -> None:
    start = Start({**env, "GRADE_POLICY": "nonsense"}, tmp_path, history=2)
    with pytest.raises(JangteoError, match=r"could not be written: .*GRADE_POLICY"):
        start.first.history(pg)


def test_a_signal_ends_the_history_for_the_next_start(
    env: dict[str, str], pg: Connection, tmp_path: Path
) -> None:
    start = Start(env, tmp_path, history=300)
    start.stopped = True
    assert not start.first.history(pg)
    assert start.said == ["the history is not finished; the next start completes it"]


def test_publishing_in_the_background_that_fails_is_reported_once(
    env: dict[str, str], tmp_path: Path
) -> None:
    start = Start(env, tmp_path)  # without Kafka
    start.first.publish_profiles()

    def reported() -> bool:
        start.first.poll()
        return bool(start.said)

    wait_until(reported, "nothing was reported")
    start.first.poll()
    assert [line.partition(" (")[0] for line in start.said] == [
        "publishing customers and products ended with 3"
    ]
    assert "profiles.log" in start.said[0]
    start.first.end_profiles()


@pytest.mark.parametrize(
    ("typed", "yes"),
    [("y\r", True), (" Yes\r", True), ("네\r", True), ("n\r", False), ("\r", False),
     ("ja\r", False), ("\x04", False), ("", False)],
)  # fmt: skip
@pytest.mark.parametrize("lang", ["en", "ko"])
def test_a_person_is_asked_for_a_past_and_answers_by_keys(  # noqa: PLR0917  (fixtures)
    env: dict[str, str], pg: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    typed: str, yes: bool, lang: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(first_start, "ANSWER_S", 0.3)
    start = Start({**env, "JANGTEO_LANG": lang}, tmp_path, terminal="/dev/tty")
    written: list[list[str]] = []
    monkeypatch.setattr(start.first, "_write", lambda words: written.append(words) is None)
    master, slave = pty.openpty()
    with os.fdopen(slave) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        os.write(master, typed.encode())
        assert start.first.history(pg)
    os.close(master)
    assert written == ([["--days", "90"]] if yes else [])
    question, how, result = start.said
    assert ("90일 치 과거를 먼저 만들까요" if lang == "ko" else "a history of 90 days") in question
    assert "Enter" in how
    assert ("writing a history of 90 days" in result) == yes
    assert ("jangteo up --history 90d" in result) != yes


def test_a_child_writes_on_the_terminal_that_a_person_watches() -> None:
    master, slave = pty.openpty()
    argv = [sys.executable, "-c", "print('history', 1 / 90)"]
    assert spawn(argv, log=Path(os.ttyname(slave)), env={}).wait(60) == 0
    assert os.read(master, 100).startswith(b"history 0.0111")
    os.close(slave)
    os.close(master)


def test_a_signal_while_a_person_is_asked_ends_the_start(
    env: dict[str, str], pg: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Start(env, tmp_path, terminal="/dev/tty")
    start.stopped = True
    master, slave = pty.openpty()
    with os.fdopen(slave) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert not start.first.history(pg)
    os.close(master)
    assert len(start.said) == 2, "the question alone"


@pytest.mark.parametrize("text", ["36h", "1.5d", "week", "-1d"])
def test_only_whole_days_are_a_history(text: str) -> None:
    with pytest.raises((ValueError, argparse.ArgumentTypeError)):
        days(text)
