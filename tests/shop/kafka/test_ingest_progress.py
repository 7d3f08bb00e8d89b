"""The progress of the ingest where PostgreSQL is slow, silent, or near."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from shop.clock import utc_now
from shop.errors import Trouble
from shop.ingest_progress import ROUND_TRIPS, ProgressReader
from shop.kafka.progress import ProgressReport
from shop.settings import Settings, load
from tests.support.broker import WorkerBroker
from tests.support.event_samples import message, order
from tests.support.ingest_processes import publish
from tests.support.network_proxy import Proxy

BOUND_S = 60.0


class Watch:
    """A clock that can be set ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def proxy(settings: Settings) -> Iterator[Proxy]:
    with Proxy(settings.postgres.port, settings.postgres.host) as made:
        yield made


def reader(env: dict[str, str], proxy: Proxy, watch: Watch, *, ahead: bool) -> ProgressReader:
    """One that looks through the proxy; nothing takes the order that is in the topic."""
    far = load(
        {**env, "POSTGRES_PORT": str(proxy.port), "INGEST_STALL_AFTER": f"{BOUND_S:g}"},
        use_stack=False,
    )
    now = utc_now()
    publish(far, "orders", [message("orders", order(1, user_id=1, ordered_at=now, updated_at=now))])
    return ProgressReader(far, "test", patient=True, ahead=ahead, timeout=20.0, monotonic=watch)


def kinds(look: ProgressReport) -> set[str]:
    return {line.kind for line in look.troubles().get("orders", ()) if isinstance(line, Trouble)}


def test_a_database_that_answers_late_is_no_ingest_that_stands_still(
    topics: WorkerBroker, env: dict[str, str], proxy: Proxy
) -> None:
    """The bound follows the way to PostgreSQL; where that is short again, so is the bound."""
    watch = Watch()
    progress = reader(env, proxy, watch, ahead=False)
    try:
        proxy.delay = 0.2
        progress.look(["orders"])
        watch.ahead = BOUND_S + 10
        late = progress.look(["orders"])
        assert late.slow_s >= ROUND_TRIPS * 0.4
        assert late.topics["orders"].lag == 1
        assert max(p.waits_s for p in late.topics["orders"].partitions) > BOUND_S
        assert "still" not in kinds(late)
        proxy.delay = 0.0
        watch.ahead = 10_000  # however busy the machine that answers is
        assert "still" in kinds(progress.look(["orders"]))
    finally:
        progress.close()


@pytest.mark.parametrize("ahead", [False, True])
def test_a_silent_database_is_not_known_instead_of_standing_still(
    topics: WorkerBroker, env: dict[str, str], proxy: Proxy, *, ahead: bool
) -> None:
    """A look ends although a statement never does, and is right again with the next answer."""
    watch = Watch()
    progress = reader(env, proxy, watch, ahead=ahead)
    try:
        assert progress.look(["orders"]).topics["orders"].lag == 1
        proxy.stalled = True
        progress.timeout = 0.2
        if ahead:
            seen = progress.look(["orders"])
            assert (seen.away, seen.topics["orders"].lag) == ("", 1)  # the last answer
        watch.ahead = BOUND_S + 10
        silent = progress.look(["orders"])
        assert silent.away
        assert silent.topics["orders"].lag is None
        assert "still_uncounted" in kinds(silent)
        assert "still" not in kinds(silent)
        proxy.stalled = False
        progress.timeout = 20.0
        for _ in range(3):  # the first ones may still have the answer of the silence
            if not (found := progress.look(["orders"])).away:
                break
        assert (found.away, found.topics["orders"].lag) == ("", 1)
    finally:
        progress.close()
