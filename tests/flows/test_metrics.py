"""The ingest's HTTP endpoint: true numbers and meaningful health."""

from __future__ import annotations

import json
import os
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from flows import health as ingest_metrics
from flows.metrics import KAFKA, POSTGRES, IngestMetrics
from flows.transaction import BatchOutcome
from shop import metrics_endpoint, postgres
from shop.clock import utc_now
from shop.events import RejectReason
from shop.kafka import TopicInfo
from shop.kafka.groups import GroupMember
from shop.kafka.progress import PartitionProgress, ProgressReport, TopicProgress
from shop.metrics_endpoint import HealthAnswer
from shop.postgres import Connection
from shop.retry import Outage
from shop.settings import Settings, load
from tests.support.event_samples import message, order
from tests.support.ingest_processes import ROOT, Ingest, publish, wait_caught_up
from tests.support.manual_clock import ManualClock
from tests.support.waiting import wait_until

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def get(url: str, accept: str = "*/*") -> tuple[int, str]:
    asked = urllib.request.Request(url, headers={"Accept": accept})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def samples(text: str) -> Samples:
    return {
        (s.name.removeprefix("jangteo_ingest_"), frozenset(s.labels.items())): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


def lags(found: Samples) -> list[float]:
    """Of the partitions whose end the consumer knows by now."""
    return [v for (name, _), v in found.items() if name == "lag_messages"]


def discovered(data_dir: Path) -> str:
    """Return the address, found as by Prometheus."""
    folder = data_dir / metrics_endpoint.FOLDER
    wait_until(lambda: any(folder.glob("*.json")), "the discovery file")
    (path,) = folder.glob("*.json")
    ((target,),) = [group["targets"] for group in json.loads(path.read_text())]
    return f"http://{target}"


@pytest.mark.fault
@pytest.mark.usefixtures("topics")
def test_an_ingest_shows_true_numbers_and_what_an_outage_does(
    env: dict[str, str], settings: Settings, pg: Connection, servers, tmp_path: Path
) -> None:
    now = utc_now()
    caught_up = [0.0] * settings.kafka.partitions
    good = [message("orders", order(i, user_id=i, ordered_at=now)) for i in range(1, 31)]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        # A file that a killed process left; no process has the largest pid plus one.
        folder = settings.data_dir / metrics_endpoint.FOLDER
        folder.mkdir(parents=True)
        (folder / "ingest-4194305.json").write_text("[]")
        with Ingest(env, tmp_path / "i.log", INGEST_TOPICS="orders", METRICS_PORT=port) as ingest:
            wait_until(lambda: "event=metrics" in ingest.log(), "the endpoint")
            url = discovered(settings.data_dir)
            assert f":{port}" not in url
            assert "metrics: cannot listen" in ingest.log()
            wait_until(lambda: get(f"{url}/readyz")[0] == 200, "ready")
            publish(settings, "orders", [*good, good[0], (b"7", b"{"), (b"7", b"{{"), (b"7", b"")])
            wait_caught_up(settings, pg)
            wait_until(lambda: lags(samples(get(f"{url}/metrics")[1])) == caught_up, "no lag")

            found = samples(get(f"{url}/metrics")[1])
            outcomes = {"stored": 30, "ignored": 1, "rejected": 3, "trimmed": 0}
            for outcome, n in outcomes.items():
                assert value(found, "messages_total", topic="orders", outcome=outcome) == n
            rejects = {"bad_json": 2, "empty": 1}
            for reason, n in rejects.items():
                assert value(found, "rejects_total", topic="orders", reason=reason) == n
            batches = value(found, "transaction_seconds_count", topic="orders")
            assert batches == value(found, "batch_messages_count", topic="orders")
            assert batches
            assert value(found, "batch_messages_sum", topic="orders") == 34
            assert value(found, "up") == 1
            assert value(found, "outage_seconds_total", server=POSTGRES) == 0
            assert value(found, "server_answers", server=POSTGRES) == 1
            assert get(f"{url}/healthz")[0] == 200

            servers.postgres.kill()
            late = [message("orders", order(i, user_id=i, ordered_at=now)) for i in range(31, 41)]
            publish(settings, "orders", late)
            wait_until(lambda: get(f"{url}/readyz")[0] == 503, "not ready")
            wait_until(lambda: sum(lags(samples(get(f"{url}/metrics")[1]))) == 10, "the lag")
            assert get(f"{url}/healthz")[0] == 200  # a restart would fix nothing
            found = samples(get(f"{url}/metrics")[1])
            assert value(found, "server_answers", server=POSTGRES) == 0
            assert (value(found, "outage_seconds_total", server=POSTGRES) or 0) > 0
            assert (value(found, "retries_total", server=POSTGRES) or 0) >= 1
            said = [s for s in ingest.log().splitlines() if "waiting for server" in s]
            assert all("topic=orders" in s for s in said)
            assert any("spans=" in s for s in said)

            servers.postgres.start()
            wait_until(lambda: get(f"{url}/readyz")[0] == 200, "ready again")
            with postgres.connect(settings.postgres, "after", autocommit=True) as again:
                wait_caught_up(settings, again)
            wait_until(lambda: lags(samples(get(f"{url}/metrics")[1])) == caught_up, "no lag")
            assert ingest.stop() == 0
        assert not list(folder.iterdir())  # its own is withdrawn, the dead one's removed


# -- the metrics -------------------------------------------------------------------------------


@pytest.fixture
def time_() -> ManualClock:
    return ManualClock()


@pytest.fixture
def metrics(time_: ManualClock) -> IngestMetrics:
    return IngestMetrics(time_)


def sample(metrics: IngestMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"jangteo_ingest_{name}", labels)


def test_batches_are_counted_once_for_heartbeat_and_metrics(
    metrics: IngestMetrics, time_: ManualClock
) -> None:
    outcome = BatchOutcome(5, 2, 1, 3, {RejectReason.EMPTY: 2})
    metrics.add("orders", outcome, 0.2)
    metrics.add("orders", outcome, 0.02)
    time_.now += 7
    assert metrics.counts() == {
        "batches": 2, "orders.ignored": 2, "orders.rejected": 4, "orders.stored": 10,
    }  # fmt: skip
    assert sample(metrics, "messages_total", topic="orders", outcome="trimmed") == 6
    assert sample(metrics, "rejects_total", topic="orders", reason="empty") == 4
    assert sample(metrics, "batch_messages_sum", topic="orders") == 22
    assert sample(metrics, "transaction_seconds_bucket", topic="orders", le="0.025") == 1
    assert sample(metrics, "last_commit_age_seconds", topic="orders") == 7


def test_an_outage_seen_by_several_is_one(metrics: IngestMetrics, time_: ManualClock) -> None:
    writer, reader = (Outage("db", metrics.watch(POSTGRES), monotonic=time_) for _ in range(2))
    writer.failed(OSError())
    time_.now += 10
    reader.failed(OSError())
    time_.now += 10
    writer.over()
    time_.now += 10
    assert metrics.is_away(POSTGRES)
    assert sample(metrics, "outage_seconds_total", server=POSTGRES) == 30
    reader.over()
    time_.now += 100
    assert not metrics.is_away(POSTGRES)
    assert sample(metrics, "outage_seconds_total", server=POSTGRES) == 30
    assert sample(metrics, "retries_total", server=POSTGRES) == 2
    assert sample(metrics, "outage_seconds_total", server=KAFKA) == 0
    writer.over()  # again: nothing
    assert sample(metrics, "outage_seconds_total", server=POSTGRES) == 30


def test_a_worker_that_does_not_poll_is_ill_unless_it_waits_for_a_server(
    metrics: IngestMetrics, time_: ManualClock
) -> None:
    state = metrics.reader("orders")
    metrics.reader("users").polled_at = time_.now + 1_000
    assert ingest_metrics.live(metrics).well
    time_.now += 9.9
    assert ingest_metrics.live(metrics).well
    time_.now += 0.2
    assert not ingest_metrics.live(metrics).well
    changed = metrics.watch(KAFKA)
    changed(True, "why")
    assert ingest_metrics.live(metrics).well
    changed(False, "")
    assert not ingest_metrics.live(metrics).well
    state.polled_at = time_.now
    assert ingest_metrics.live(metrics).well
    metrics.ended(state)
    assert "orders" not in ingest_metrics.live(metrics).facts["silent_s"]


def test_ready_means_partitions_of_every_topic_and_a_postgres_that_answers(
    metrics: IngestMetrics,
) -> None:
    topics = ("orders", "users")
    orders, users = (metrics.reader(topic) for topic in topics)
    orders.applied = {0: 3, 5: 0}
    assert not ingest_metrics.ready(metrics, topics).well
    users.applied = {1: 0}
    health = ingest_metrics.ready(metrics, topics)
    assert (health.well, health.facts["partitions"]) == (True, {"orders": 2, "users": 1})
    assert sample(metrics, "lag_messages", topic="orders", partition="0") is None  # not known yet
    metrics.watch(POSTGRES)(True, "why")
    assert not ingest_metrics.ready(metrics, topics).well


def report(*partitions: PartitionProgress, members: tuple[GroupMember, ...] = ()) -> ProgressReport:
    info = TopicInfo("orders", len(partitions), 1, "cluster/topic")
    return ProgressReport({"orders": TopicProgress(info, partitions, members)})


def test_health_is_red_where_a_partition_waits_or_no_ingest_has_it(metrics: IngestMetrics) -> None:
    ours = GroupMember("jangteo-ingest-orders", "/10.0.0.1", (0, 1, 2))
    theirs = GroupMember("rdkafka", "/10.0.0.2", (3,))
    metrics.reader("orders").applied = {0: 5}
    well = PartitionProgress(0, begin=0, end=9, applied=5, waits_s=59.0, holder="ours")
    metrics.see(report(well, members=(ours,)))
    assert ingest_metrics.healthy(metrics, 60.0).well
    assert sample(metrics, "lag_messages", topic="orders", partition="0") == 4
    assert sample(metrics, "waits_seconds", topic="orders", partition="0") == 59
    bad = {
        "have not advanced for 61 s": (
            PartitionProgress(1, begin=0, end=9, applied=5, waits_s=61.0, holder="ours"), ours),
        "no ingest has partitions 2": (
            PartitionProgress(2, begin=0, end=9, applied=5, holder="none", unheld_s=30.0), ours),
        "is not an ingest of this shop": (
            PartitionProgress(3, begin=0, end=9, applied=9, holder="foreign"), theirs),
        "were removed before they were read": (
            PartitionProgress(4, begin=7, end=9, applied=5, holder="ours"), ours),
    }  # fmt: skip
    for words, (partition, member) in bad.items():
        metrics.see(report(well, partition, members=(member,)))
        health = ingest_metrics.healthy(metrics, 60.0)
        assert not health.well
        assert any(words in line for line in health.facts["troubles"]), words
        assert ingest_metrics.live(metrics).well, "a restart would fix nothing"
    assert sample(metrics, "lag_messages", topic="orders", partition="4") is None  # another's
    metrics.see(report(bad["is not an ingest of this shop"][0], members=(theirs,)))
    assert (
        sample(metrics, "lag_messages", topic="orders", partition="3") == 0
    )  # no other process reports it


def test_health_is_red_where_a_server_is_away_for_longer_than_the_bound(
    metrics: IngestMetrics, time_: Any
) -> None:
    metrics.watch(POSTGRES)(True, "No space left on device")
    time_.now += 59
    assert ingest_metrics.healthy(metrics, 60.0).well
    time_.now += 2
    health = ingest_metrics.healthy(metrics, 60.0)
    assert not health.well
    assert "No space left on device" in health.facts["troubles"][0]


def test_the_page_names_exactly_what_is_shown(metrics: IngestMetrics) -> None:
    """The page is read from the registry before anything is counted; here everything is."""
    page = (ROOT / "docs/metric-names.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| `(jangteo_ingest_\w+)` \| (\w+) \| ([\w, ]*) \|", page, re.MULTILINE)
    documented = {
        (name, kind): set(labels.replace(",", " ").split()) for name, kind, labels in table
    }
    metrics.add("orders", BatchOutcome(1, 1, 1, 1, {RejectReason.EMPTY: 1}), 0.1)
    metrics.reader("orders").applied = {0: 1}
    metrics.see(report(PartitionProgress(0, begin=0, end=2, applied=1)))
    text = generate_latest(metrics.registry).decode()
    shown = {
        (family.name + "_total" * (family.type == "counter"), family.type): {
            label for s in family.samples for label in s.labels if label != "le"
        }
        for family in text_string_to_metric_families(text)
        if not family.name.endswith("_created")
    }
    assert documented == shown


# -- the endpoint ----------------------------------------------------------------------------


def bare(tmp_path: Path, **env: str) -> Settings:
    return load({"JANGTEO_DATA_DIR": str(tmp_path), **env}, use_stack=False)


def serve(
    metrics: IngestMetrics, settings: Settings, **checks: Callable[[], HealthAnswer]
) -> metrics_endpoint.Endpoint:
    endpoint = metrics_endpoint.start("probe", metrics.registry, settings, **checks)
    assert endpoint is not None
    return endpoint


def test_the_endpoint_answers_what_it_knows_and_nothing_else(
    metrics: IngestMetrics, tmp_path: Path
) -> None:
    facts: dict[str, Any] = {"why": "널"}
    endpoint = serve(metrics, bare(tmp_path), ready=lambda: HealthAnswer(well=False, facts=facts))
    try:
        with socket.create_connection(endpoint.server.server_address[:2]):  # says nothing
            assert get(f"{endpoint.url}/healthz") == (200, f'{{"pid": {os.getpid()}}}\n')
        assert get(f"{endpoint.url}/readyz?verbose=1")[0] == 503
        assert json.loads(get(f"{endpoint.url}/readyz")[1]) == facts
        assert get(f"{endpoint.url}/")[0] == 404
        assert get(f"{endpoint.url}/../etc/passwd")[0] == 404
        assert "jangteo_ingest_up 1.0" in get(f"{endpoint.url}/metrics")[1]
        assert get(f"{endpoint.url}/metrics", "application/openmetrics-text")[1].endswith("# EOF\n")
    finally:
        endpoint.close()
    with pytest.raises(urllib.error.URLError):
        get(f"{endpoint.url}/healthz")
    assert not list((tmp_path / metrics_endpoint.FOLDER).iterdir())


def test_an_endpoint_that_cannot_be_disturbs_nobody(metrics: IngestMetrics, tmp_path: Path) -> None:
    nowhere = bare(tmp_path, METRICS_HOST="192.0.2.1")  # of nobody: RFC 5737
    assert metrics_endpoint.start("probe", metrics.registry, nowhere) is None
    (tmp_path / "file").write_text("in the way")
    endpoint = serve(metrics, bare(tmp_path / "file"))
    try:
        assert endpoint.record is None
        assert get(f"{endpoint.url}/healthz")[0] == 200
    finally:
        endpoint.close()


def test_asking_all_the_time_does_not_stop_the_counting(
    metrics: IngestMetrics, tmp_path: Path
) -> None:
    endpoint = serve(metrics, bare(tmp_path))
    try:
        deadline = time.monotonic() + 0.5
        n = 0
        while time.monotonic() < deadline or n < 10:
            metrics.add("orders", BatchOutcome(stored=1), 0.001)
            n += 1
            text = get(f"{endpoint.url}/metrics")[1]
            found = samples(text)
            assert value(found, "messages_total", topic="orders", outcome="stored") == n
    finally:
        endpoint.close()
