"""`jangteo dlq` on a real PostgreSQL and a real broker."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest

from flows.deadletters import command as deadletters_command
from shop import postgres
from shop.clock import utc_now
from shop.errors import JangteoError, UsageError
from shop.postgres import Connection, dead_letters
from shop.postgres.dead_letters import Filter
from shop.settings import Settings
from tests.flows.deadletters.dead_letter_samples import call, dlq_parser, reject_messages
from tests.support.event_samples import changed, message, order, poison
from tests.support.ingest_processes import ROOT, Ingest, publish, wait_caught_up

KINDS = {k: m for k, m in poison(order()).items() if k != "oversize"}


def query(settings: Settings, text: str) -> list[tuple]:
    with postgres.connect(settings.postgres, "test") as conn:
        return conn.execute(text).fetchall()


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
