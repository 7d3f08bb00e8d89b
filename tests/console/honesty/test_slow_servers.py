"""Servers that answer, but take seconds: slow is not down."""

from __future__ import annotations

import msgspec
import pytest

from console import plain
from console import translations as msg
from console.changes import changes
from console.poller import Poller
from console.snapshot.model import Lag
from console.snapshot.reading import ReadingState
from console.sources import CurrentSettings
from console.sources.postgres import ShopSource
from shop.errors import ExitCode
from shop.settings import Settings, load
from tests.console import console_samples as samples
from tests.console.test_poller import NoEvents
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
