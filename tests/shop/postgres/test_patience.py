"""A server that gives every answer, but late, is reached in the end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from shop import postgres
from shop.errors import UnreachableError
from shop.postgres import patience
from shop.settings import PostgresSettings, Settings
from tests.support.network_proxy import Proxy


@pytest.fixture
def late(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresSettings]:
    """A server of which each answer takes 0.8 s, where a session must begin within a second."""
    monkeypatch.setattr(patience, "FIRST_S", 1)
    monkeypatch.setattr(patience, "_known", {})
    with Proxy(settings.postgres.port) as proxy:
        proxy.delay = 0.4
        yield replace(settings.postgres, port=proxy.port)


def test_each_attempt_gets_more_time(late: PostgresSettings) -> None:
    allowed = []
    for _ in range(4):
        allowed.append(patience.patience_with(late).seconds)
        try:
            conn = postgres.connect(late, "test")
        except psycopg.OperationalError:
            continue
        with conn, patience.patient(conn, late):
            assert conn.execute("SELECT 1").fetchone() == (1,)
        break
    else:
        pytest.fail(f"never connected, within {allowed} s")
    assert allowed[0] == 1
    assert len(allowed) > 1
    assert patience.patience_with(late).seconds == allowed[-1]


def test_a_command_tries_again_by_itself(late: PostgresSettings) -> None:
    with postgres.connection(late, "test", autocommit=True) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_a_server_that_answers_at_once_gets_the_usual_time_again(late: PostgresSettings) -> None:
    known = patience.patience_with(late)
    for _ in range(9):
        known.took(known.seconds, known.seconds, failed=True)
    assert patience.patience_with(late).seconds == patience.LONGEST_S
    with known.waiting():
        pass
    assert patience.patience_with(late).seconds == 1


def test_a_server_that_accepts_and_never_answers_is_given_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "FIRST_S", 1)
    monkeypatch.setattr(patience, "LONGEST_S", 2)
    monkeypatch.setattr(patience, "_known", {})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = replace(settings.postgres, port=silent.getsockname()[1])
        with pytest.raises(UnreachableError, match="timeout"), postgres.connection(where, "test"):
            pass
        assert patience.patience_with(where).seconds == 2


def test_who_need_not_connect_any_more_does_not_wait(settings: Settings) -> None:
    unwanted = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = replace(settings.postgres, port=silent.getsockname()[1])
        threading.Timer(0.3, unwanted.set).start()
        began = time.monotonic()
        with pytest.raises(psycopg.OperationalError, match="not awaited"):
            postgres.connect_unless(unwanted.is_set, where, "test")
        assert time.monotonic() - began < patience.FIRST_S
