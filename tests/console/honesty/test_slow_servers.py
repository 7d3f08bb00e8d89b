"""Servers that answer, but take seconds: slow is not down."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from rich.cells import cell_len

from console import plain, rules
from console import translations as msg
from console.changes import changes
from console.poller import Poller, _Slot
from console.snapshot.model import Lag
from console.snapshot.reading import ReadingState
from console.snapshot.severity import Severity
from console.sources import CurrentSettings
from console.sources.kafka import TopicsSource
from console.sources.postgres import ShopSource
from console.translations import of_trouble
from shop.clock import utc_now
from shop.errors import ExitCode, Trouble
from shop.settings import Settings, load
from tests.console import console_samples as samples
from tests.console.test_poller import NoEvents
from tests.support.broker import WorkerBroker
from tests.support.network_proxy import Proxy
from tests.support.waiting import wait_until


def test_a_database_that_takes_seconds_is_slow_and_never_down(
    env: dict[str, str], settings: Settings
) -> None:
    """Each way takes half a second: making a connection alone takes longer than 1.5 s."""
    with Proxy(settings.postgres.port, settings.postgres.host) as proxy:
        proxy.delay = 0.5
        far = load({**env, "POSTGRES_PORT": str(proxy.port)}, use_stack=False)
        current = CurrentSettings(far, follow=False)
        poller = Poller([ShopSource(current)], NoEvents(), current)
        states: set[ReadingState] = set()
        poller.listen(lambda s: states.add(s.postgres.state))
        poller.start()
        try:
            found = poller.wait_until_read(60)
            assert found.postgres.state is ReadingState.SLOW
            assert found.postgres.value is not None
            wait_until(
                lambda: poller.latest().postgres.taken_at != found.postgres.taken_at,
                "another read over the connection that there is",
            )
            assert not states & {ReadingState.STALE, ReadingState.DOWN}
        finally:
            poller.stop()


def test_a_broker_that_takes_seconds_is_slow_and_never_down(
    topics: WorkerBroker, env: dict[str, str], settings: Settings
) -> None:
    """A read asks several things one after the other: with half a second each way, it is slow."""
    host, _, port = settings.kafka.bootstrap_servers.partition(":")
    with Proxy(int(port), host, advertised=True) as proxy:
        proxy.delay = 0.5
        far = load({**env, "KAFKA_BOOTSTRAP_SERVERS": f"{host}:{proxy.port}"}, use_stack=False)
        states = _states(TopicsSource(CurrentSettings(far, follow=False)), far)
    assert states == {ReadingState.LOADING, ReadingState.SLOW}


def test_kafka_is_not_slow_because_postgresql_is(
    topics: WorkerBroker, env: dict[str, str], settings: Settings
) -> None:
    with Proxy(settings.postgres.port, settings.postgres.host) as proxy:
        far = load({**env, "POSTGRES_PORT": str(proxy.port)}, use_stack=False)
        source = TopicsSource(CurrentSettings(far, follow=False))
        try:
            source.deadline = 1.5
            assert source.read().topics[0].lag == 0
            proxy.stalled = True
            for _ in range(2):
                found = source.read()  # ends, although the statement in it does not
        finally:
            source.reset()
    assert (found.topics[0].lag, found.brokers) == (0, 1), "the last answer"
    assert not found.topics[0].error


def _states(source: TopicsSource, settings: Settings) -> set[ReadingState]:
    """Read twice; return the states that the reading had."""
    poller = Poller([source], NoEvents(), CurrentSettings(settings, follow=False))
    states: set[ReadingState] = set()
    poller.listen(lambda s: states.add(s.kafka.state))
    poller.start()
    try:
        first = poller.wait_until_read(60).kafka.taken_at
        assert first is not None
        wait_until(lambda: poller.latest().kafka.taken_at != first, "another read")
    finally:
        poller.stop()
    return states


def test_slow_is_degraded_and_only_what_cannot_be_reached_is_3() -> None:
    s = samples.well()
    slow = msgspec.structs.replace(s.postgres, state=ReadingState.SLOW, latency_ms=2_100.0)
    found = msgspec.structs.replace(s, postgres=slow)
    assert plain.exit_code(found) is ExitCode.FAILED
    assert "postgres is slow: 2.1 s" in plain.line(found)


def test_old_values_have_no_verdict() -> None:
    page = plain.page(samples.kafka_down(), "en")
    assert "orders_group: lag 184 unknown (was warn 1m05s ago)" in page
    assert "drain" not in page
    assert "but ingest reports that it stores 57/s" in page


def test_the_cause_stands_where_the_verdict_would() -> None:
    s = samples.well()
    stranger = msg.SILENT(name="a stranger")
    topics = tuple(
        msgspec.structs.replace(t, lag=640, verdict=Lag.OK, troubles=(stranger,))
        for t in s.kafka.value.topics
    )
    view = msgspec.structs.replace(s.kafka.value, topics=topics)
    page = plain.page(msgspec.structs.replace(s, kafka=samples.ok(view)), "en")
    assert "lag 640 a stranger is silent" in page
    assert "lag 640 ok" not in page


def test_a_verdict_comes_back_without_a_new_event() -> None:
    """Kafka was away for a minute; the lag is as it was before."""
    down, fine = samples.kafka_down(), samples.fine(2)
    assert not [c for c in changes(down, fine) if c[1] == "orders_group"]


@pytest.mark.parametrize(("width", "longest"), [(80, 80), (120, 120)])
def test_a_comparison_fits_the_terminal(width: int, longest: int) -> None:
    found = plain.comparison(samples.well(), samples.kafka_down(), width)
    assert max(map(len, found.splitlines())) <= longest
    assert "unreachable" in found


@pytest.mark.parametrize("width", [80, 120])
def test_a_comparison_fits_with_wide_characters_and_in_ascii(width: int) -> None:
    """A server may report its errors in Korean: each letter takes two cells."""
    error = "데이터베이스 시스템이 시작 중입니다 " * 4
    away = samples.failing(samples.well().postgres, ReadingState.DOWN, error, since=65)
    found = msgspec.structs.replace(samples.well(), postgres=away)
    lines = plain.comparison(samples.well(), found, width).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert "데이터베이스" in "".join(lines)
    page = plain.comparison(samples.well(), found, width, ascii_only=True)
    assert page.isascii()
    assert max(map(len, page.splitlines())) <= width


def test_an_answer_that_is_awaited_counts_as_slow_for_as_long_as_it_is() -> None:
    now = utc_now()
    slot = _Slot(value=samples.kafka(), taken_at=now, latency_ms=3.0)
    slot.reading_since = now - timedelta(seconds=4)
    slot.took.append(0.003)
    found = slot.reading(now)
    assert (found.state, round(found.latency_ms or 0)) == (ReadingState.SLOW, 4_000)
    page = plain.line(msgspec.structs.replace(samples.well(), kafka=found))
    assert "kafka is slow: 4.0 s" in page


def test_what_is_not_known_is_no_error_and_is_said_once() -> None:
    """While PostgreSQL is away, its own reading is the cause; the topics are unknown."""
    line = Trouble("still_uncounted", ids="0", seconds="61")
    s = samples.well()
    topics = tuple(
        msgspec.structs.replace(t, lag=None, verdict=Lag.UNKNOWN, troubles=(of_trouble(line),))
        for t in s.kafka.value.topics
    )
    view = msgspec.structs.replace(s.kafka.value, topics=topics)
    away = samples.failing(s.postgres, ReadingState.DOWN, "connection refused", since=65)
    found = msgspec.structs.replace(s, kafka=samples.ok(view), postgres=away)
    assert rules.topic_state(topics[0])[0] is Severity.UNKNOWN
    health, reasons = rules.health(found)
    assert health is rules.ShopHealth.UNREACHABLE
    assert not any("advance" in str(r) for r in reasons)
    # Where PostgreSQL answers the console, the topics are all that says it.
    health, reasons = rules.health(msgspec.structs.replace(found, postgres=s.postgres))
    assert health is rules.ShopHealth.DEGRADED
    assert any("advance" in str(r) for r in reasons)
