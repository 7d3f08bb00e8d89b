"""`jangteo dlq` on a real PostgreSQL and a real broker."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from flows.deadletters import command as deadletters_command
from flows.deadletters import replay
from flows.deadletters.replay import Edit, Replay
from shop import kafka, postgres
from shop.clock import utc_now
from shop.errors import JangteoError, UsageError
from shop.postgres import Connection, dead_letters
from shop.postgres.dead_letters import Filter
from shop.settings import Settings
from tests.flows.dead_letter_samples import call, dlq_parser, reject_messages
from tests.support.event_samples import NOW, changed, message, order, poison
from tests.support.ingest_processes import ROOT, Ingest, publish, wait_caught_up
from tests.support.waiting import wait_until

KINDS = {k: m for k, m in poison(order()).items() if k != "oversize"}


@pytest.fixture
def database(servers) -> Iterator[Settings]:
    """A database of its own, without a broker: ten times faster to make."""
    servers.revive()
    name = servers.create_database()
    try:
        yield servers.settings(POSTGRES_DB=name)
    finally:
        servers.drop_database(name)


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def query(settings: Settings, text: str) -> list[tuple]:
    with postgres.connect(settings.postgres, "test") as conn:
        return conn.execute(text).fetchall()


REPLAYED = 'SELECT "offset" FROM rejected_messages WHERE replayed_at IS NOT NULL ORDER BY 1'


# -- looking ---------------------------------------------------------------------------------


def test_list_filters_and_counts(database: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    reject_messages(database, list(KINDS.values()))
    reject_messages(database, [(b"7", b"{")] * 3, topic="users", partition=5)
    assert call(database, "list", "--json") == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(listed) == len(KINDS) + 3
    by_offset = {r["offset"]: r for r in listed if r["topic"] == "orders"}
    for i, (kind, (key, payload)) in enumerate(KINDS.items()):
        row = by_offset[i]
        assert row["reason"] == kind.split(".")[0]
        text = row["payload"]
        assert payload == (text.encode() if text is not None else None) or row["payload_base64"]
        assert (row["key"] is None) == (key is None or key == b"\xff")

    call(database, "list", "--topic", "users", "--reason", "bad_json")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "place"
    assert sorted(line.split()[0] for line in lines[1:]) == [f"users[5]@{i}" for i in range(3)]

    call(database, "list", "--limit", "2")
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 3
    assert f"{len(KINDS) + 1} more" in shown.err

    call(database, "counts", "--json")
    counted = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum(c["messages"] for c in counted) == len(KINDS) + 3
    assert {"topic": "users", "reason": "bad_json", "messages": 3, "waiting": 3}.items() <= next(
        c for c in counted if c["topic"] == "users"
    ).items()


def test_show_takes_what_list_prints(
    database: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    reject_messages(database, [(b"7", b"{")], partition=3, log_id="tAn5u/9f3c")
    assert call(database, "list") == 0
    (place,) = re.findall(r"^orders\S+", capsys.readouterr().out, re.MULTILINE)
    assert call(database, "show", place) == 0
    shown = capsys.readouterr().out
    assert call(database, "list", "--json") == 0
    line = capsys.readouterr().out.strip()
    head = shown.splitlines()[0]
    for words in (["orders", "3", "0"], [head], head.split(), [line], ["orders/3/0"]):
        assert call(database, "show", *words) == 0, words
        assert capsys.readouterr().out == shown
    with pytest.raises(JangteoError, match="no dead letter"):
        call(database, "show", f"{place} log other")
    assert call(database, "replay", place, "--dry-run") == 1
    assert call(database, "purge", place, "--yes") == 0


@pytest.mark.parametrize(
    "words",
    ["orders", "orders 3", "orders[3]", "orders[3]@", "orders[x]@1", "nothing[3]@1", "orders 3 1 2",
     "orders 3 -1", "orders[3]@1 log", "{}", '{"topic":"orders"}', "[[[", "orders 9999999999 1",
     "orders 1 9999999999999999999", "orders\\x1b[3]@1", " "],
)  # fmt: skip
def test_what_is_no_place_is_refused(database: Settings, words: str) -> None:
    with pytest.raises(UsageError, match="orders 3 17"):
        call(database, "show", words)


def test_what_was_cut_is_shown(database: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    reject_messages(database, [poison(order())["oversize"], (b"8" * 2_000, changed(order()))])
    call(database, "show", "orders[0]@0")
    assert re.search(r"payload +65,536 bytes \(the first 65,536 of 1,000,\d+ bytes were kept\)",
                     capsys.readouterr().out)  # fmt: skip
    call(database, "show", "orders[0]@1")
    assert "(the first 1,024 of 2,000 bytes were kept)" in capsys.readouterr().out
    call(database, "list", "--json")
    sizes = [json.loads(line)["payload_bytes"] for line in capsys.readouterr().out.splitlines()]
    assert sorted(map(bool, sizes)) == [False, True]


def test_time_narrows(database: Settings) -> None:
    reject_messages(database, [(b"7", b"{")] * 4)
    with postgres.connect(database.postgres, "test") as conn:
        conn.execute(
            "UPDATE rejected_messages SET rejected_at = now() - \"offset\" * interval '1 hour'"
        )
        now = utc_now()
        for filters, expected in (
            (Filter(since=dead_letters.moment("90m", now)), {0, 1}),
            (Filter(until=dead_letters.moment("90m", now)), {2, 3}),
            (Filter(since=dead_letters.moment("2026-03-04T05:06:07Z", now)), {0, 1, 2, 3}),
            (Filter(partition=0, offset=2), {2}),
            (Filter(log_id="other"), set()),
            (Filter(replayed=True), set()),
        ):
            found = dead_letters.find(conn, filters)
            assert {letter.offset for letter in found} == expected
            assert dead_letters.matching(conn, filters) == len(expected)


def test_show_renders_every_kind_safely(
    database: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    reject_messages(database, [*KINDS.values(), (b"\x1b]0;x\x07", b'{"\x1b[2J')])
    for offset in range(len(KINDS) + 1):
        assert call(database, "show", "orders", "0", str(offset)) == 0
        shown = capsys.readouterr().out
        assert all(line.isprintable() for line in shown.splitlines())
        assert re.search(r"^reason    \w+", shown, re.MULTILINE)
    call(database, "show", "orders", "0", str(list(KINDS).index("unknown_value")))
    assert re.search(r"\^{6} payment_method has no such value", capsys.readouterr().out)
    with pytest.raises(JangteoError, match="no dead letter at orders 0 999"):
        call(database, "show", "orders", "0", "999")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "oders", "0", "1"], "TOPIC PARTITION OFFSET"),
        (["list", "orders", "zero", "1"], "TOPIC PARTITION OFFSET"),
        (["list", "--since", "yesterday"], "how long ago"),
        (["list", "--since", "2026-03-04T05:06:07"], "zone"),
        (["replay", "--replayed"], "--again"),
        (["replay", "--set", "quantity=two"], "FIELD=JSON"),
        (["replay", "--fix", "nothing"], "MODULE:FUNCTION"),
        (["replay", "--fix", "json:nothing"], "AttributeError"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line(
    database: Settings, words: list[str], said: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        call(database, *words)


# -- replay ----------------------------------------------------------------------------------


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
        done = subprocess.run(
            [sys.executable, "-m", "jangteo", "dlq", "replay", "--fix", "fixes:close"],
            cwd=tmp_path, env={**env, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=60, check=False,
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
        (Edit(fix=lambda payload, row: nested(500)), "objects and arrays within one another"),
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


# -- purge -----------------------------------------------------------------------------------


def test_purge_removes_what_is_meant_and_only_when_it_is_confirmed(
    database: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reject_messages(database, list(KINDS.values()))
    bad = sum(k.startswith("bad_json") for k in KINDS)

    def answer(text: str) -> int:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        return call(database, "purge", "--reason", "bad_json")

    left = "SELECT count(*), count(*) FILTER (WHERE reason = 'bad_json') FROM rejected_messages"
    for text in ("", "y\n", "yes\n", f"{bad + 1}\n"):
        assert answer(text) == 1
        assert query(database, left) == [(len(KINDS), bad)]
    assert answer(f"{bad}\n") == 0
    assert f"{bad} dead letters removed" in capsys.readouterr().err
    assert query(database, left) == [(len(KINDS) - bad, 0)]
    assert call(database, "purge", "--yes", "--limit", "2") == 0
    assert query(database, left) == [(len(KINDS) - bad - 2, 0)]
    assert call(database, "purge", "--yes") == 0
    assert query(database, left) == [(0, 0)]


def test_purge_removes_nothing_if_there_are_others_than_were_confirmed(
    database: Settings,
) -> None:
    reject_messages(database, [(b"7", b"{")] * 3)
    with (
        postgres.connect(database.postgres, "purge") as conn,
        pytest.raises(UsageError, match="there were 2 when you were asked, now there are 3"),
    ):
        dead_letters.purge(conn, Filter(), expected=2)
    assert query(database, "SELECT count(*) FROM rejected_messages") == [(3,)]


def test_production_refuses_to_purge_without_its_flag(servers, database: Settings) -> None:
    reject_messages(database, [(b"7", b"{")])
    production = servers.settings(
        POSTGRES_DB=database.postgres.db, DB_TYPE="production",
        POSTGRES_PASSWORD=database.postgres.password or "Tr0ub4dor",
    )  # fmt: skip
    with pytest.raises(UsageError, match="--yes-production"):
        call(production, "purge", "--yes")
    assert query(database, "SELECT count(*) FROM rejected_messages") == [(1,)]
    assert call(production, "purge", "--yes", "--yes-production") == 0


# -- the flood limit -------------------------------------------------------------------------


@pytest.mark.fault
@pytest.mark.usefixtures("topics")
def test_a_flood_stops_the_ingest_and_it_goes_on_after_a_purge(
    env: dict[str, str], settings: Settings, pg: Connection, tmp_path: Path
) -> None:
    limited = {"INGEST_TOPICS": "orders", "INGEST_MAX_REJECTS": "5"}
    now = utc_now()

    def wave(first: int) -> None:
        good = [message("orders", order(first + i, ordered_at=now)) for i in range(3)]
        publish(settings, "orders", [(b"7", b"{")] * 4 + good)

    with Ingest(env, tmp_path / "1.log", **limited) as ingest:
        wave(1)
        wait_caught_up(settings, pg)
        wave(11)
        assert ingest.process.wait(30) == 1
        errors = [line for line in ingest.log().splitlines() if "level=error" in line]
        assert len(errors) == 1, errors
        for words in ("INGEST_MAX_REJECTS=5", "jangteo dlq", "topic=orders", "spans="):
            assert words in errors[0]
        assert "Traceback" not in ingest.log()
    assert pg.execute("SELECT count(*) FROM rejected_messages").fetchone() == (4,)
    assert pg.execute("SELECT count(*) FROM orders").fetchone() == (3,)
    assert call(settings, "purge", "--yes") == 0
    with Ingest(env, tmp_path / "2.log", **limited) as ingest:
        wait_caught_up(settings, pg)
        assert ingest.stop() == 0
    assert pg.execute("SELECT count(*) FROM rejected_messages").fetchone() == (4,)
    assert pg.execute("SELECT count(*) FROM orders").fetchone() == (6,)


# -- the documentation -----------------------------------------------------------------------


def test_the_guide_has_every_reason_with_its_meaning() -> None:
    guide = (ROOT / "docs/dead-letters.md").read_text(encoding="utf-8")
    table = deadletters_command.reasons()
    assert table in guide, f"docs/dead-letters.md: put in `jangteo dlq reasons`:\n{table}"
    options = set(re.findall(r"--[a-z][a-z-]+", guide))
    known = {w for action in dlq_parser().actions.values() for w in action.options()}
    assert options <= known, options - known
