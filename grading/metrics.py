"""The metrics of the grader."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from grading.store import GradeRun

_PREFIX: Final = "jangteo_grader"
_SECONDS: Final = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 600)


class GraderMetrics:
    """Counts a grader's runs on a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._changed = Counter(
            f"{_PREFIX}_changed", "Customers whose grade a run changed, up or down",
            ("direction",),
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            f"{_PREFIX}_run_seconds", "Seconds of a run; its count is the number of runs",
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._customers = Gauge(
            f"{_PREFIX}_customers", "Customers of each grade after the last run", ("grade",),
            registry=self.registry,
        )  # fmt: skip
        self._finished = Gauge(
            f"{_PREFIX}_last_run_timestamp_seconds", "When the last run ended, Unix time",
            registry=self.registry,
        )  # fmt: skip

        self._disagreed = Counter(
            f"{_PREFIX}_disagreements", "Customers that incremental runs had graded wrongly",
            registry=self.registry,
        )  # fmt: skip

    def add(self, run: GradeRun) -> None:
        """Count a run that is committed."""
        self._changed.labels("up").inc(run.upgraded)
        self._changed.labels("down").inc(run.downgraded)
        self._disagreed.inc(run.disagreed or 0)
        self._seconds.observe(run.seconds)
        for grade, customers in run.distribution.items():
            self._customers.labels(grade).set(customers)
        self._finished.set(run.finished_at.timestamp())
