"""Replay of dead letters: published once, fixed on the way, marked when acknowledged."""

from __future__ import annotations

import json
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from flows.deadletters import replay
from flows.deadletters.replay import Edit, Replay
from shop import kafka, postgres
from shop.clock import utc_now
from shop.postgres import Connection, dead_letters
from shop.postgres.dead_letters import Filter
from shop.settings import Settings
from tests.flows.deadletters.dead_letter_samples import call, reject_messages
from tests.flows.deadletters.test_command import KINDS, query
from tests.support import python_process
from tests.support.event_samples import NOW, changed, message, order
from tests.support.ingest_processes import ROOT, Ingest, publish, wait_caught_up
from tests.support.layouts import by_month_in_the_long_suite
from tests.support.waiting import wait_until

REPLAYED = 'SELECT "offset" FROM rejected_messages WHERE replayed_at IS NOT NULL ORDER BY 1'


# -- replay ----------------------------------------------------------------------------------


@by_month_in_the_long_suite
@pytest.mark.fault
@pytest.mark.usefixtures("topics")
def test_replayed_messages_end_in_the_tables_once(
    env: dict[str, str],
    settings: Settings,
    pg: Connection,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Rejected by the running ingest, repaired on the command line, stored by the same ingest."""
    now = utc_now()
    event = order(1, ordered_at=now, updated_at=now)
    wrong_amount = (b"7", changed(event, amount=1))
    null_key = (None, message("orders", order(2, ordered_at=now, updated_at=now))[1])
    broken = (b"7", message("orders", order(3, ordered_at=now, updated_at=now))[1][:-1])
    (tmp_path / "fixes.py").write_text(
        "import json\n"
        "def close(payload, row):\n"
        "    return json.loads(row.payload + b'}') if payload is None else None\n"
    )

    def replayed(*words: str) -> str:
        assert call(settings, "replay", *words) == 0
        return capsys.readouterr().err.removeprefix("jangteo dlq: ").strip()

    with Ingest(env, tmp_path / "ingest.log", INGEST_TOPICS="orders"):
        publish(settings, "orders", [wrong_amount, null_key, broken])
        wait_caught_up(settings, pg)
        assert pg.execute("SELECT count(*) FROM rejected_messages").fetchone() == (3,)
        assert replayed("--reason", "wrong_amount", "--set", "amount=2000") == "1 published"
        assert replayed("--reason", "null_key", "--key-from-field") == "1 published"
        done = python_process.run(
            [sys.executable, "-m", "jangteo", "dlq", "replay", "--fix", "fixes:close"],
            cwd=tmp_path, env={**env, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=60
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "jangteo dlq: 1 published\n")
        assert replayed("--set", "amount=2000") == "nothing to replay"
        # Again on purpose: the ingest knows the order and ignores it.
        assert (
            replayed("--again", "--reason", "wrong_amount", "--set", "amount=2000") == "1 published"
        )
        wait_caught_up(settings, pg)
        wait_until(lambda: pg.execute("SELECT count(*) FROM orders").fetchone() == (3,), "stored")
    assert pg.execute("SELECT order_id FROM orders ORDER BY 1").fetchall() == [(1,), (2,), (3,)]
    assert pg.execute("SELECT count(*) FROM rejected_messages").fetchone() == (3,)
    assert pg.execute("SELECT sum(ignored) FROM ingest_offsets").fetchone() == (1,)


@pytest.mark.usefixtures("topics")
def test_what_would_be_rejected_again_is_not_published(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    reject_messages(settings, list(KINDS.values()))
    # Of all kinds, only an event dated ahead of a past clock has become good by itself.
    good = {list(KINDS).index("out_of_range.future")}
    assert call(settings, "replay", "--dry-run", "--json") == 1
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {r["offset"] for r in results if r["done"] == "would be published"} == good
    assert query(settings, REPLAYED) == []
    assert call(settings, "replay") == 1
    shown = capsys.readouterr()
    assert "still bad: " in shown.out
    assert "1 published" in shown.err
    assert f"{len(KINDS) - 1} still bad" in shown.err
    assert query(settings, REPLAYED) == [(i,) for i in good]
    assert sum(kafka.end_offsets(settings.kafka, "orders").values()) == 1


@pytest.mark.usefixtures("topics")
def test_replays_at_once_share_the_work_and_double_nothing(settings: Settings) -> None:
    n = 120
    reject_messages(settings, [(None, message("orders", order(i))[1]) for i in range(1, n + 1)])
    chosen = Filter(replayed=False)
    edit = Edit(key_from_field=True)
    published: list[list[int]] = [[], []]
    both = threading.Barrier(2)

    def work(mine: list[int]) -> None:
        with postgres.connect(settings.postgres, "replay") as conn:
            both.wait()
            for result in Replay(conn, chosen, edit, chunk=5).run(
                settings.kafka, threading.Event()
            ):
                assert result.done == replay.PUBLISHED
                mine.append(result.letter.offset)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in published]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(published[0] + published[1]) == list(range(n))
    assert sum(kafka.end_offsets(settings.kafka, "orders").values()) == n
    assert len(query(settings, REPLAYED)) == n


@pytest.mark.usefixtures("topics")
def test_nothing_is_marked_that_the_broker_did_not_acknowledge(
    settings: Settings, servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    reject_messages(settings, [(None, message("orders", order(1))[1])] * 3)
    monkeypatch.setitem(replay._PRODUCER, "message.timeout.ms", 500)
    servers.kafka.kill()
    with postgres.connect(settings.postgres, "replay") as conn:
        again = Replay(conn, Filter(), Edit(key_from_field=True), chunk=2)
        done = [r.done for r in again.run(settings.kafka, threading.Event())]
    assert done == [replay.NOT_TAKEN] * 2  # the rest is not even tried
    assert query(settings, REPLAYED) == []


@pytest.mark.usefixtures("topics")
def test_a_stop_ends_after_the_chunk_in_hand(settings: Settings) -> None:
    reject_messages(settings, [(None, message("orders", order(1))[1])] * 9)
    stop = threading.Event()
    with postgres.connect(settings.postgres, "replay") as conn:
        results = Replay(conn, Filter(), Edit(key_from_field=True), chunk=4)
        for _ in results.run(settings.kafka, stop):
            stop.set()
    assert query(settings, REPLAYED) == [(i,) for i in range(4)]


@pytest.mark.usefixtures("topics")
def test_limit_and_place_narrow_a_replay(settings: Settings) -> None:
    reject_messages(settings, [(None, message("orders", order(1))[1])] * 9)
    assert call(settings, "replay", "orders", "0", "7", "--key-from-field") == 0
    assert call(settings, "replay", "--key-from-field", "--limit", "2") == 0
    assert query(settings, REPLAYED) == [(0,), (1,), (7,)]


def cyclic() -> dict[str, object]:
    found: dict[str, object] = {}
    found["again"] = found
    return found


def nested(depth: int) -> dict[str, object]:
    found: dict[str, object] = {}
    for _ in range(depth):
        found = {"deeper": found}
    return found


class SpeechlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def speechless() -> None:
    raise SpeechlessError


def multiline() -> None:
    raise ValueError("one\ntwo" + "!" * 10_000)


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (Edit(fix=lambda payload, row: 1 / 0), "--fix: ZeroDivisionError"),
        (Edit(fix=lambda payload, row: [payload]), "--fix returned list"),
        (Edit(fix=lambda payload, row: {"v": object()}), "not valid JSON"),
        (Edit(fix=lambda payload, row: cyclic()), "not valid JSON: RecursionError"),
        (Edit(fix=lambda payload, row: nested(100_000)), "not valid JSON: RecursionError"),
        (Edit(fix=lambda payload, row: nested(500)), "objects and arrays nested in one another"),
        (Edit(fix=lambda payload, row: {**payload, "x": float("nan")}), "wrong_amount"),
        (Edit(fix=lambda payload, row: {**payload, "x": "\ud800"}), "not valid JSON"),
        (Edit(fix=lambda payload, row: {**payload, (1, 2): 3}), "not valid JSON"),
        (Edit(fix=lambda payload, row: {**payload, "x": "x" * 3_000_000}), "oversize: 3000"),
        (Edit(fix=lambda payload, row: {"user_id": "\ud800"}, key_from_field=True), "not valid"),
        (Edit(fix=lambda payload, row: {"user_id": 10**5_000}, key_from_field=True), "not valid"),
        (Edit(fix=lambda payload, row: sys.exit("enough")), "--fix: SystemExit: enough"),
        (Edit(fix=lambda payload, row: speechless()), "--fix: SpeechlessError"),
        (Edit(fix=lambda payload, row: multiline()), "--fix: ValueError: one two"),
        (Edit(drop=("user_id",), key_from_field=True), "no user_id to take the key from"),
        (Edit(drop=("amount",)), "missing_field"),
        (Edit(values={"amount": 3}), "wrong_amount"),
    ],
)
def test_a_mend_that_fails_is_told_for_its_row(edit: Edit, why: str) -> None:
    letter = dead_letters.DeadLetter(
        "orders", 0, 0, "log", b"7", changed(order(), amount=1), "wrong_amount", "amount", "",
        NOW, None,
    )  # fmt: skip
    result = replay.judge(letter, edit, lambda: NOW)
    assert result.done == replay.STILL_BAD
    assert why in result.why
    assert "\n" not in result.why
    assert len(result.why) < 400
    result.why.encode()  # can be printed
    assert replay.judge(letter, Edit(fix=lambda p, r: None), lambda: NOW).done == replay.LEFT_ALONE
    repaired = replay.judge(
        letter, Edit(values={"amount": 2000}), lambda: NOW + timedelta(1)
    ).repaired
    assert repaired is not None
    assert repaired.payload == changed(order(), amount=2000)


def cut_letter(**cut: int) -> dead_letters.DeadLetter:
    return dead_letters.DeadLetter(
        "orders", 0, 0, "log", b"7", changed(order()), "oversize", None, "", NOW, None, **cut
    )


def test_what_was_cut_is_not_published() -> None:
    payload = replay.judge(cut_letter(payload_bytes=2_000_000), Edit(), lambda: NOW)
    assert payload.done == replay.STILL_BAD
    assert "only the first" in payload.why
    assert "of 2,000,000 bytes of its payload were kept" in payload.why
    repaired = Edit(fix=lambda p, r: {"v": 1})
    assert (
        replay.judge(cut_letter(payload_bytes=2_000_000), repaired, lambda: NOW).why == payload.why
    )
    key = cut_letter(key_bytes=5_000)
    assert "of 5,000 bytes of its key" in replay.judge(key, Edit(), lambda: NOW).why
    other = replay.judge(key, Edit(key_from_field=True), lambda: NOW)
    assert other.done == replay.WOULD_PUBLISH
