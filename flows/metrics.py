"""The metrics of the ingest: what it stored, how long that took, whether it waits.

The heartbeat, the log's summaries, the metrics endpoint and the health checks all read from here.
Everything is on a registry of its own, so that nothing else of the process shows in it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter as Counts
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from flows.transaction import BatchOutcome
from shop.kafka.progress import ProgressReport

PREFIX: Final = "jangteo_ingest"
POSTGRES: Final = "postgresql"
KAFKA: Final = "kafka"
OUTCOMES: Final = ("stored", "rejected", "ignored", "trimmed")
# From a lone order to INGEST_BATCH_SIZE's default, and beyond it.
_SIZES: Final = (1, 10, 100, 500, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000, 1_000_000)
# A commit takes a millisecond; a batch of 50,000 orders about 0.4 s; a lock wait can take minutes.
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)


class ReaderState:
    """What one consumer reports of itself; written by its worker's thread alone.

    Attributes:
        topic: what it reads.
        polled_at: when it last polled, seconds of a monotonic clock.
        applied: the offset up to which each partition that it has is stored.
    """

    def __init__(self, topic: str, polled_at: float) -> None:
        self.topic = topic
        self.polled_at = polled_at
        self.applied: Mapping[int, int] = {}


class IngestMetrics:
    """Thread-safe account of an ingest process.

    Args:
        monotonic: seconds of a clock that never steps.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry()
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._counts: Counts[str] = Counts()
        self._readers: list[ReaderState] = []
        self._committed_at: dict[str, float] = {}
        self._away: dict[str, dict[object, float]] = {POSTGRES: {}, KAFKA: {}}
        self._away_since: dict[str, float] = {}
        self._away_why: dict[str, str] = {}
        self._look = ProgressReport()
        self._away_s = dict.fromkeys(self._away, 0.0)
        registry = self.registry
        self._messages = Counter(
            f"{PREFIX}_messages",
            "Messages of committed batches: stored (a row was made or changed; an order and its "
            "cancellation in one batch are two), ignored (duplicates and older revisions), "
            "rejected (dead letters), trimmed (applied by the partition's process before this one)",
            ("topic", "outcome"), registry=registry,
        )  # fmt: skip
        self._rejects = Counter(
            f"{PREFIX}_rejects", "Messages put into rejected_messages, by reason",
            ("topic", "reason"), registry=registry,
        )  # fmt: skip
        self._sizes = Histogram(
            f"{PREFIX}_batch_messages",
            "Messages of a committed batch; its count is the number of batches",
            ("topic",), buckets=_SIZES, registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            f"{PREFIX}_transaction_seconds",
            "Seconds from BEGIN to the answer to COMMIT; several batches in one transaction take "
            "an equal part each; its count is the number of batches",
            ("topic",), buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._retries = Counter(
            f"{PREFIX}_retries",
            "Attempts that failed because postgresql or kafka was away or busy",
            ("server",), registry=registry,
        )  # fmt: skip
        for server in self._away:
            self._retries.labels(server)  # shown as 0 before the first
        self.registry.register(self)

    # -- record --------------------------------------------------------------------------------

    def add(self, topic: str, outcome: BatchOutcome, seconds: float) -> None:
        """Count a committed batch and its share of the seconds that its transaction took."""
        with self._lock:
            self._counts["batches"] += 1
            for name in OUTCOMES[:3]:
                self._counts[f"{topic}.{name}"] += getattr(outcome, name)
            self._committed_at[topic] = self._monotonic()
        for name in OUTCOMES:
            self._messages.labels(topic, name).inc(getattr(outcome, name))
        for reason, n in outcome.reasons.items():
            self._rejects.labels(topic, reason.value).inc(n)
        self._sizes.labels(topic).observe(outcome.messages)
        self._seconds.labels(topic).observe(seconds)

    def reader(self, topic: str) -> ReaderState:
        """Register a consumer, which is to keep its state up to date."""
        state = ReaderState(topic, self._monotonic())
        with self._lock:
            self._readers.append(state)
        return state

    def ended(self, state: ReaderState) -> None:
        """Forget a consumer that has left its group."""
        with self._lock:
            self._readers.remove(state)

    def see(self, look: ProgressReport) -> None:
        """Take note of how far the ingest is."""
        with self._lock:
            self._look = look

    def watch(self, server: str) -> Callable[[bool, str], None]:
        """Return what an `Outage` of this server is to call.

        Args:
            server: `POSTGRES` or `KAFKA`.
        """
        witness = object()

        def changed(away: bool, why: str) -> None:
            now = self._monotonic()
            with self._lock:
                seen_by = self._away[server]
                if away:
                    if not seen_by:
                        self._away_since[server] = now
                    seen_by[witness] = now
                    self._away_why[server] = why
                elif seen_by.pop(witness, None) is not None and not seen_by:
                    self._away_s[server] += now - self._away_since[server]
            if away:
                self._retries.labels(server).inc()

        return changed

    # -- asked -------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Return the counters of the heartbeat: batches, and messages by topic and outcome."""
        with self._lock:
            return dict(sorted(self._counts.items()))

    def is_away(self, server: str) -> bool:
        """Tell whether a server did not answer the last attempt."""
        with self._lock:
            return bool(self._away[server])

    def away(self) -> dict[str, tuple[float, str]]:
        """Return the servers that do not answer, for how many seconds, and the last reason."""
        now = self._monotonic()
        with self._lock:
            return {
                server: (now - self._away_since[server], self._away_why[server])
                for server, seen_by in self._away.items()
                if seen_by
            }

    def look(self) -> ProgressReport:
        """Return the last look at the progress."""
        with self._lock:
            return self._look

    def silent_s(self) -> dict[str, float]:
        """Return the seconds since each topic's consumer polled (the slowest, if several)."""
        now = self._monotonic()
        with self._lock:
            silent: dict[str, float] = {}
            for state in self._readers:
                silent[state.topic] = max(silent.get(state.topic, 0.0), now - state.polled_at)
            return silent

    def assigned(self) -> dict[str, int]:
        """Return how many partitions of each topic this process has."""
        with self._lock:
            found: Counts[str] = Counts()
            for state in self._readers:
                found[state.topic] += len(state.applied)
            return dict(found)

    def collect(self) -> Iterator[Metric]:
        """Yield what is worked out when it is asked for (called by the registry)."""
        now = self._monotonic()
        with self._lock:
            readers = [(state.topic, state.applied) for state in self._readers]
            look = self._look
            committed = dict(self._committed_at)
            away = {server: bool(seen_by) for server, seen_by in self._away.items()}
            outages = {
                server: self._away_s[server] + (now - self._away_since[server] if lasts else 0.0)
                for server, lasts in away.items()
            }
        yield GaugeMetricFamily(f"{PREFIX}_up", "1 while the process runs", 1)
        lag = GaugeMetricFamily(
            f"{PREFIX}_lag_messages",
            "Offsets in the log that PostgreSQL has not applied, of the partitions that this "
            "process has and of those that no ingest has",
            labels=("topic", "partition"),
        )  # fmt: skip
        waits = GaugeMetricFamily(
            f"{PREFIX}_waits_seconds",
            "Seconds for which a partition with a lag has not advanced",
            labels=("topic", "partition"),
        )
        troubles = GaugeMetricFamily(
            f"{PREFIX}_troubles",
            "Number of things that keep a topic from advancing, which /healthz names; 0 while all "
            "is well",
            labels=("topic",),
        )  # fmt: skip
        age = GaugeMetricFamily(
            f"{PREFIX}_last_commit_age_seconds",
            "Seconds since a batch was committed; grows on a quiet topic too, so compare it with "
            "the lag",
            labels=("topic",),
        )  # fmt: skip
        outage = CounterMetricFamily(
            f"{PREFIX}_outage_seconds",
            "Seconds in which postgresql or kafka was waited for, the running outage included",
            labels=("server",),
        )  # fmt: skip
        answers = GaugeMetricFamily(
            f"{PREFIX}_server_answers", "0 while postgresql or kafka is waited for, 1 otherwise",
            labels=("server",),
        )  # fmt: skip
        for (topic, partition), (messages, seconds) in sorted(_lags(look, readers).items()):
            lag.add_metric((topic, str(partition)), messages)
            waits.add_metric((topic, str(partition)), seconds)
        wrong = look.troubles()
        for topic in look.topics:
            troubles.add_metric((topic,), len(wrong.get(topic, ())))
        for topic, at in sorted(committed.items()):
            age.add_metric((topic,), now - at)
        for server, seconds in outages.items():
            outage.add_metric((server,), seconds)
            answers.add_metric((server,), float(not away[server]))
        yield from (lag, waits, troubles, age, outage, answers)


def _lags(
    look: ProgressReport, readers: Sequence[tuple[str, Mapping[int, int]]]
) -> dict[tuple[str, int], tuple[int, float]]:
    """Return lag and wait of each partition that this process has, or no ingest has.

    So each partition is shown by one process, and none by nobody. What this process has stored is
    known to it while PostgreSQL is away, too.
    """
    found = {}
    for name, topic in look.topics.items():
        own: dict[int, int] = {}
        for read, applied in readers:
            if read == name:
                own.update(applied)
        for p in topic.partitions:
            at = own.get(p.partition)
            if at is not None:
                behind = max(0, p.end - max(at, p.applied or 0))
            elif p.holder in ("foreign", "none") and p.pending is not None:
                behind = p.pending
            else:
                continue
            found[name, p.partition] = behind, p.waits_s if behind else 0.0
    return found
