"""Actions that are commands of other rooms: for the stack that the console looks at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
import redis

from console.actions import operations
from console.actions.commands import WOULD_PUBLISH
from console.actions.operations import Operator
from shop import boot_clock
from shop import settings as shop_settings
from shop.errors import JangteoError
from shop.postgres import Connection
from shop.settings import Settings, stack_file
from shop.settings.stack_file import RunningStack
from shop.settings.stack_servers import SERVER_PREFIXES

_LETTER = b"""
    INSERT INTO rejected_messages
        (topic, partition, "offset", log_id, key, payload, reason, detail, rejected_at)
    VALUES (%s, 0, %s, 'a log', %s, %s, 'bad_json', 'JSON is malformed', now())
"""
_PRODUCT = (
    b'{"v": 1, "product_id": 1, "name": "a", "category": "b", "brand": "c", "price": 100,'
    b' "created_at": "2026-01-01T00:00:00Z"}'
)


@pytest.fixture
def elsewhere(
    topics: object, env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """The settings of a stack that is found only by its data directory, not from here."""
    for name in (*env, *os.environ):
        if name.startswith(SERVER_PREFIXES) or name == "JANGTEO_DATA_DIR":
            monkeypatch.delenv(name, raising=False)
    # There is no pointer to it, so a search for a running stack finds none.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "no-pointers"))
    there, here = tmp_path / "there", tmp_path / "here"
    here.mkdir()
    started = boot_clock.process_started(os.getpid()) or ""
    reached = {k: v for k, v in env.items() if k.startswith(SERVER_PREFIXES)}
    now = datetime.now(timezone.utc).isoformat()
    stack_file.publish(RunningStack(there, os.getpid(), started, now, reached))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(here)
    try:
        yield shop_settings.load({"PATH": os.environ["PATH"]}, data_dir=there)
    finally:
        stack_file.withdraw(there)


def test_the_stack_of_the_console_is_the_one_that_is_acted_on(
    elsewhere: Settings, pg: Connection, redis_client: redis.Redis
) -> None:
    for n, payload in enumerate((_PRODUCT, _PRODUCT, b"{")):
        pg.execute(_LETTER, ("products", n, b"1", payload))
    operator = Operator(lambda: elsewhere, who="me@here")
    request = operations.parse(["dlq.replay", "products"])
    replayed = b"SELECT count(replayed_at) FROM rejected_messages"
    assert operator.would_replay(request) == {WOULD_PUBLISH: 2, "still bad": 1}
    assert pg.execute(replayed).fetchone() == (0,), "a dry run"
    assert operator.would_replay(operations.parse(["dlq.replay", "users"])) == {}
    done = operator.perform(request)
    assert (done.outcome, done.result) == ("failed", "jangteo dlq: 2 published, 1 still bad")
    assert pg.execute(replayed).fetchone() == (2,)

    known = operator.scenarios()
    assert "flash_sale" in {s.scenario for s in known}
    assert all(s.lasts and s.rate and s.title for s in known)
    started = operator.perform(operations.parse(["scenario.start", "flash_sale", "30m"]))
    assert started.outcome == "done", started.result
    assert any(b"flash_sale" in key_or_value for key_or_value in everything(redis_client))
    assert operator.perform(operations.parse(["scenario.stop", "flash_sale"])).outcome == "done"


def everything(client: redis.Redis) -> Iterator[bytes]:
    """Return all keys, and the fields and values of hashes."""
    for key in client.scan_iter("control:*"):
        yield str(key).encode()
        if client.type(key) in (b"hash", "hash"):
            for pair in client.hgetall(key).items():
                yield from (str(x).encode() for x in pair)


def test_without_a_stack_the_command_says_what_is_missing(
    tmp_path: Path, elsewhere: Settings
) -> None:
    (tmp_path / "nothing").mkdir()
    nowhere = Operator(lambda: shop_settings.load({}, data_dir=tmp_path / "nothing"))
    with pytest.raises(JangteoError, match="no running stack was found"):
        nowhere.would_replay(operations.parse(["dlq.replay"]))
    assert elsewhere.data_dir != tmp_path / "nothing"
