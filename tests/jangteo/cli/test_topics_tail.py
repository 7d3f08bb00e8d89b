"""`jangteo topics tail` and `topics produce` on a real broker."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from jangteo.cli.topics import command as topics
from shop import command, kafka
from shop.clock import utc_now
from shop.errors import JangteoError, UnreachableError, UsageError
from shop.events import Order, encode
from shop.settings import Settings
from tests.support import python_process

pytestmark = pytest.mark.usefixtures("topics")

NOW = utc_now().replace(microsecond=0) - timedelta(hours=1)
Run = Callable[..., list[str]]


def order(number: int, **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "v": 1, "order_id": number, "rev": 1, "user_id": number, "product_id": 7, "quantity": 1,
        "unit_price": 1_000 * number, "discount": 0, "amount": 1_000 * number,
        "payment_method": "CARD", "status": "PAID", "scenario": None, "ordered_at": NOW,
        "updated_at": NOW, **changes,
    }  # fmt: skip
    return encode(Order(**fields))


def publish(
    settings: Settings, *messages: tuple[bytes | None, bytes | None], **options: Any
) -> None:
    """Into partition 0 of orders, a second apart."""
    producer = kafka.producer(settings.kafka, "test")
    at = int(NOW.timestamp() * 1000)
    for i, (key, payload) in enumerate(messages):
        stamp = at + 1000 * i
        producer.produce("orders", payload, key, partition=0, timestamp=stamp, **options)
    assert producer.flush(30) == 0


@pytest.fixture
def run(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `jangteo topics tail orders ...`, and return the lines of its stdout."""

    def run(*words: str, topic: str = "orders") -> list[str]:
        parser = command.Parser()
        topics.configure(parser)
        args = parser.parse(["tail", topic, *words])
        before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
        try:
            assert topics.run(args, settings) == 0
        finally:
            for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
                signal.signal(number, handler)
        return capsys.readouterr().out.splitlines()

    return run


def five(settings: Settings) -> None:
    publish(settings, *((str(i).encode(), order(i)) for i in range(1, 6)))


def offsets(lines: list[str]) -> list[int]:
    return [json.loads(line)["offset"] for line in lines]


def test_from_where_reading_begins(run: Run, settings: Settings) -> None:
    five(settings)
    third = (NOW + timedelta(seconds=2)).isoformat().replace("+00:00", "Z")
    in_seoul = (NOW + timedelta(hours=9, seconds=2)).replace(tzinfo=None).isoformat() + "+09:00"
    stop = ("--no-follow", "--json")
    assert offsets(run("--from", "beginning", *stop)) == [0, 1, 2, 3, 4]
    assert offsets(run(*stop)) == [0, 1, 2, 3, 4]
    assert offsets(run("--from", "-2", *stop)) == [3, 4]
    assert offsets(run("--from", "3", *stop)) == [3, 4]
    assert offsets(run("--from", third, *stop)) == [2, 3, 4]
    assert offsets(run("--from", in_seoul, *stop)) == [2, 3, 4]
    assert offsets(run("--from", "2020-01-01", *stop)) == [0, 1, 2, 3, 4]
    assert offsets(run("--from", "2h", *stop)) == [0, 1, 2, 3, 4]
    assert offsets(run("--from", "1m", *stop)) == []
    assert offsets(run("--from", "end", *stop)) == []
    assert offsets(run("--from", "5", *stop)) == []


def test_which_messages_are_shown(run: Run, settings: Settings) -> None:
    five(settings)
    stop = ("--from", "beginning", "--no-follow", "--json")
    assert offsets(run("--key", "2", *stop)) == [1]
    assert offsets(run("--partition", "0", *stop)) == [0, 1, 2, 3, 4]
    assert offsets(run("--partition", "1", *stop)) == []
    assert offsets(run("--limit", "2", *stop)) == [0, 1]
    assert offsets(run("--limit", "0", *stop)) == []
    assert offsets(run("--where", 'amount > 2000 and status == "PAID"', *stop)) == [2, 3, 4]
    assert offsets(run("--where", "offset in [1, 4] or key == '1'", *stop)) == [0, 1, 4]
    # The last two messages that match, however far back they are.
    last = ("--from", "-2", "--no-follow", "--json")
    assert offsets(run("--where", "amount < 4000", *last)) == [1, 2]
    assert offsets(run("--key", "9", *last)) == []


def test_the_last_are_the_newest_of_all_partitions(run: Run, settings: Settings) -> None:
    producer = kafka.producer(settings.kafka, "test")
    at = int(NOW.timestamp() * 1000)
    for i in range(30):
        producer.produce("orders", b"%d" % i, b"k", partition=i % 3, timestamp=at + i)
    producer.flush(30)
    shown = run("--from", "-4", "--no-follow", "--json")
    assert [json.loads(line)["payload"] for line in shown] == ["26", "27", "28", "29"]


def test_json_has_everything(run: Run, settings: Settings) -> None:
    payload = b'{"amount": 12345678901234567890123, "b": "\\u001b[31m",\n "c": "\xc2\x9b"}'
    publish(settings, (b"7", payload), headers=[("trace", b"\xff"), ("trace", b"2"), ("x", None)])
    (line,) = run("--from", "beginning", "--no-follow", "--json")
    record = json.loads(line)
    assert record == {
        "topic": "orders", "partition": 0, "offset": 0,
        "timestamp": NOW.strftime("%Y-%m-%dT%H:%M:%S.000Z"), "key": "7",
        "headers": [["trace", {"base64": "/w=="}], ["trace", "2"], ["x", None]],
        "payload": {"amount": 12345678901234567890123, "b": "\x1b[31m", "c": "\x9b"},
    }  # fmt: skip
    assert line.isprintable()


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_whatever_the_codec(run: Run, settings: Settings, codec: str) -> None:
    options = {"compression.type": codec, **kafka.client_config(settings.kafka, "test")}
    producer = Producer(options)
    producer.produce("orders", "머그컵 ".encode() * 100, b"k")
    assert producer.flush(30) == 0
    (line,) = run("--from", "beginning", "--no-follow", "--json")
    assert json.loads(line)["payload"] == "머그컵 " * 100


def test_nothing_from_outside_reaches_the_terminal_as_a_code(run: Run, settings: Settings) -> None:
    evil = "\x1b]0;owned\x07\t\n\u202e\u200b\x9b31m 컵".encode()
    header = [("\x1b[2J", evil)]
    publish(settings, (evil, evil), (b"\xff\x00", b"\x80\x81"), (None, None), headers=header)
    lines = run("--from", "beginning", "--no-follow")
    assert len(lines) == 3
    for line in lines:
        assert "\x1b" not in line
        assert all(cell.isprintable() for cell in line.split("\t"))
    shown_cells = [line.split("\t") for line in lines]
    assert shown_cells[0][3:5] == ["\\x1b]0;owned\\x07\\x09\\x0a\\u202e\\u200b\\x9b31m 컵"] * 2
    assert shown_cells[1][3:5] == ["0xff00", "0x8081"]
    assert shown_cells[2][3:5] == ["null", "null"]
    for line in run("--from", "beginning", "--no-follow", "--json"):
        assert line.isprintable()
        assert json.loads(line)["headers"][0][0] == "\x1b[2J"
    assert json.loads(line)["payload"] is None


def test_only_committed_transactions_are_shown_and_their_markers_end_nothing(
    run: Run, settings: Settings
) -> None:
    producer = Producer(
        {**kafka.client_config(settings.kafka, "test"), "transactional.id": "test-tail"}
    )
    producer.init_transactions(30)
    for number, commit in ((1, True), (2, False), (3, True)):
        producer.begin_transaction()
        producer.produce("orders", order(number), str(number).encode(), partition=0)
        producer.flush(30)
        if commit:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
    for words in (("--from", "beginning"), ("--from", "-2")):
        shown = [json.loads(line) for line in run(*words, "--no-follow", "--json")]
        assert [record["key"] for record in shown] == ["1", "3"]


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (("--from", "6"), UsageError, r"no partition has this offset; .*orders\[0\] 0 to 4"),
        (("--from", "yesterday"), UsageError, "expected beginning, end, an offset"),
        (("--from", "2999-01-01"), UsageError, "in the future"),
        (("--from", "-0"), UsageError, "the last 1 to"),
        (("--partition", "12"), UsageError, "partitions 0 to 11, no 12"),
        (("--where", "amount = 1"), UsageError, "write `==`"),
    ],
)
def test_what_cannot_be_is_one_line(
    run: Run, settings: Settings, words: tuple[str, ...], kind: type[JangteoError], said: str
) -> None:
    five(settings)
    with pytest.raises(kind, match=said) as caught:
        run("--no-follow", *words)
    assert "\n" not in str(caught.value)


def test_a_topic_or_server_that_is_not_there_is_one_line(
    run: Run, servers: Any, tmp_path: Path
) -> None:
    with pytest.raises(JangteoError, match="no topic nothing: `jangteo topics list`"):
        run("--no-follow", topic="nothing")
    parser = command.Parser()
    topics.configure(parser)
    file = tmp_path / "orders.ndjson"
    file.write_bytes(order(1))
    away = servers.settings(KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    for words in (["tail", "orders"], ["produce", "orders", str(file)]):
        with pytest.raises(UnreachableError, match="the connection was refused for 2 s"):
            topics.run(parser.parse(words), away)


def test_a_server_that_is_silent_is_waited_for(servers: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        mute = servers.settings(KAFKA_BOOTSTRAP_SERVERS=where).kafka
        with pytest.raises(UnreachableError, match=f"{where} within 2.5 s"):
            kafka.wait_until_up(mute, timeout=2.5)


def test_an_empty_topic_ends_at_once(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--from", "beginning", "--no-follow") == []
    assert run("--from", "0", "--no-follow") == []


def jangteo(env: dict[str, str], *words: str, **options: Any) -> subprocess.Popen[str]:
    return python_process.Popen(
        [sys.executable, "-m", "jangteo", "topics", *words],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def test_new_messages_are_shown_as_they_come_and_no_group_knows_of_it(
    env: dict[str, str], settings: Settings
) -> None:
    publish(settings, (b"1", order(1)))
    process = jangteo(env, "tail", "orders", "--json", "--from", "-1")
    assert process.stdout
    first = json.loads(process.stdout.readline())  # it is there: from now on it follows
    assert first["offset"] == 0
    publish(settings, (b"2", order(2)))
    assert json.loads(process.stdout.readline())["payload"]["order_id"] == 2
    groups = kafka.admin(settings.kafka).list_consumer_groups().result().valid
    assert [g.group_id for g in groups if "tail" in g.group_id] == []
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")


def test_it_ends_when_nobody_reads_any_more(env: dict[str, str], settings: Settings) -> None:
    publish(settings, (b"1", order(1)))
    process = jangteo(env, "tail", "orders", "--from", "beginning")
    assert process.stdout
    assert process.stdout.readline()
    process.stdout.close()  # no message comes that would have to be written
    assert process.wait(timeout=30) == 128 + signal.SIGPIPE
    assert process.stderr
    assert process.stderr.read() == ""


def test_on_a_terminal_it_is_aligned(env: dict[str, str], settings: Settings) -> None:
    five(settings)
    parent, child = os.openpty()
    process = python_process.Popen(
        [sys.executable, "-m", "jangteo", "topics", "tail", "orders", "--no-follow"],
        env={**env, "NO_COLOR": "1", "TERM": "xterm"}, stdout=child, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(child)
    shown = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            shown += os.read(parent, 65_536)
        except OSError:  # the other side is closed
            break
    assert process.wait(timeout=30) == 0
    lines = shown.decode().replace("\x1b[2m", "").splitlines()
    assert len({line.index("{") for line in lines}) == 1
    os.close(parent)


# -- produce ---------------------------------------------------------------------------------


def produce(
    env: dict[str, str], text: bytes, *words: str, topic: str = "orders"
) -> subprocess.CompletedProcess[bytes]:
    return python_process.run(
        [sys.executable, "-m", "jangteo", "topics", "produce", topic, *words],
        env=env, input=text, capture_output=True, timeout=60
    )  # fmt: skip


def stored(settings: Settings, topic: str = "orders") -> list[tuple[bytes | None, bytes | None]]:
    return [(m.key(), m.value()) for m in kafka.read(settings.kafka, topic)]


def test_produce_sends_what_meets_the_contract(
    env: dict[str, str], settings: Settings, tmp_path: Any
) -> None:
    done = produce(env, order(1) + b"\n\n" + order(2) + b"\r\n" + order(1, order_id=9))
    assert done.returncode == 0, done.stderr
    assert sum(b"acknowledged, offset" in line for line in done.stdout.splitlines()) in (1, 2)
    assert sorted(stored(settings)) == sorted(
        [(b"1", order(1)), (b"2", order(2)), (b"1", order(1, order_id=9))]
    )
    file = tmp_path / "orders.ndjson"
    file.write_bytes(order(3))
    done = produce(env, b"", str(file), "--json")
    place = json.loads(done.stdout)
    assert place["line"] == 1
    assert kafka.end_offsets(settings.kafka, "orders")[place["partition"]] == place["offset"] + 1


def test_produce_sends_nothing_if_a_line_is_faulty(env: dict[str, str], settings: Settings) -> None:
    bad = b'{"v": 1, "\x1b[31m": 1}'
    lines = [order(1), bad, b"\xff", order(2).replace(b'"amount":2000', b'"amount":1'), b"[]"]
    done = produce(env, b"\n".join(lines))
    assert done.returncode == 1
    said = done.stderr.decode().splitlines()
    assert [line.split(":")[:2] for line in said[:4]] == [
        ["line 2", " bad_json"], ["line 3", " bad_encoding"], ["line 4", " wrong_amount"],
        ["line 5", " wrong_type"],
    ]  # fmt: skip
    assert "4 of 5 lines do not meet the contract of orders: nothing was sent" in said[4]
    assert b"\x1b" not in done.stderr
    assert stored(settings) == []
    done = produce(env, b"\n".join(lines), "--anyway")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(b"; sent anyway") == 4
    wanted = [(b"1", order(1)), (None, bad), (None, b"\xff"), (b"2", lines[3]), (None, b"[]")]
    assert sorted(stored(settings), key=str) == sorted(wanted, key=str)


def test_produce_checks_a_key_that_is_given(env: dict[str, str], settings: Settings) -> None:
    done = produce(env, order(1), "--key", "2")
    assert done.returncode == 1
    assert b"line 1: key_mismatch" in done.stderr
    assert produce(env, order(1), "--key", "2", "--anyway").returncode == 0
    assert stored(settings) == [(b"2", order(1))]


def test_produce_refuses_what_cannot_be(env: dict[str, str], settings: Settings) -> None:
    for code, said, done in [
        (2, b"no line to publish", produce(env, b"")),
        (2, b"cannot read /nonexistent", produce(env, b"", "/nonexistent")),
        (2, b"did you mean 'orders'", produce(env, b"", topic="order")),
        (2, b"--yes-production", produce({**env, "DB_TYPE": "production"}, order(1))),
        (2, b"unrecognized arguments: --where", produce(env, order(1), "--where", "x")),
        (1, b"oversize", produce(env, b'{"a": "' + b"x" * 1_100_000 + b'"}')),
        (1, b"line 1", produce(env, b'{"a": "' + b"x" * 1_100_000 + b'"}', "--anyway")),
    ]:
        assert done.returncode == code, done.stderr
        assert said in done.stderr
    assert stored(settings) == []
