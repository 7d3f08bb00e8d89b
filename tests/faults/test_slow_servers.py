"""An ingest that starts where each answer of a server takes two seconds: late, and nothing lost."""

from __future__ import annotations

import pytest

from tests.support.fault_stage import Stage
from tests.support.network_proxy import Proxy

pytestmark = [pytest.mark.fault, pytest.mark.slow]
EACH_WAY_S = 1.0


def test_a_database_that_answers_in_two_seconds(stage: Stage) -> None:
    with Proxy(stage.settings.postgres.port) as proxy:
        proxy.delay = EACH_WAY_S
        member = stage.ingest(POSTGRES_PORT=str(proxy.port))
        stage.load(seed=75, rate=20)
        stage.wait_taken(1, timeout=400)  # a transaction of 20 answers
        proxy.delay = 0.0
        stage.settle()
        assert member.alive()


def test_brokers_that_answer_in_two_seconds(stage: Stage) -> None:
    _, port = stage.settings.kafka.bootstrap_servers.split(":")
    with Proxy(int(port), advertised=True) as proxy:
        proxy.delay = EACH_WAY_S
        member = stage.ingest(KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{proxy.port}")
        stage.load(seed=76, rate=20)
        stage.wait_taken(100, timeout=400)
        proxy.delay = 0.0
        stage.settle()
        assert member.alive()
