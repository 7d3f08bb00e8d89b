"""Which benchmarks the report has, and the size of each at both scales."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Scale: TypeAlias = Literal["small", "full"]


@dataclass(frozen=True)
class Planned:
    """A benchmark of the report.

    Attributes:
        name: of it in the report.
        title: of its section.
        module: what `python -m` runs.
        small: arguments that make it short; None: not run at this scale.
        full: arguments of the documented figures.
        limit_s: seconds after which it is ended and counts as failed, at the full scale.
        needs: packages without which it cannot run.
    """

    name: str
    title: str
    module: str
    small: Sequence[str] | None
    full: Sequence[str]
    limit_s: float
    needs: Sequence[str] = ()

    def argv(self, scale: Scale) -> list[str] | None:
        """Return the command without its output file; None if it is not run at this scale."""
        arguments = self.small if scale == "small" else self.full
        return None if arguments is None else [sys.executable, "-m", self.module, *arguments]

    def missing(self) -> list[str]:
        """Return the packages that it needs and that are not installed."""
        return [package for package in self.needs if importlib.util.find_spec(package) is None]


SMALL_LIMIT_S: Final = 300.0
"""As `Planned.limit_s`, at the small scale."""
MINUTES: Final[Mapping[Scale, int]] = {"small": 20, "full": 60}
"""That all of them together may take."""
_CONNECT: Final = ("--connect",) if shutil.which("mvn") and shutil.which("java") else ()
_COMPARED: Final = ("--lean", "--peers")

PLAN: Final = (
    Planned(
        "ingest", "Orders from Kafka into PostgreSQL", "benchmarks.ingest",
        (*_COMPARED, "--orders", "200000", "--peer-orders", "20000"),
        (*_COMPARED, *_CONNECT, "--processes", "1", "2", "3"), 1_200,
    ),
    Planned(
        "ingest-old", "A backlog of event times over 60 days", "benchmarks.ingest",
        ("--days", "60", "--orders", "100000"), ("--days", "60"), 600,
    ),
    Planned(
        "kafka", "With Kafka and without", "benchmarks.kafka_comparison",
        ("--scale", "small"), ("--scale", "full"), 1_500,
    ),
    Planned(
        "cache", "With the cache and without", "benchmarks.cache",
        ("--customers", "10000", "--rates", "0.25", "10"), (), 600,
    ),
    Planned(
        "idle", "An idle shop", "benchmarks.idle", ("--seconds", "15"), (), 240,
    ),
    Planned(
        "grading", "Grades", "benchmarks.grading",
        ("--users", "20000", "--orders", "200000", "--rounds", "3"), (), 1_200,
        ("pandas", "duckdb"),
    ),
    Planned(
        "backfill", "A history", "benchmarks.backfill",
        ("--days", "10"), ("--days", "90"), 900, ("faker",),
    ),
    Planned(
        "rates", "Orders into Kafka", "benchmarks.rates",
        ("--rates", "1000", "20000", "--seconds", "3", "--orders", "200000"), (), 300,
    ),
    Planned("windows", "Spend in windows", "benchmarks.windows", ("--orders", "10000"), (), 300),
    Planned("brokers", "Brokers", "benchmarks.brokers", ("--runs", "1"), (), 300),
    Planned(
        "scaling", "Several ingest processes", "benchmarks.scaling", None, (), 900,
    ),
    Planned("console", "The console", "benchmarks.console", None, (), 600),
    Planned(
        "realism", "Statistics of customers and orders", "benchmarks.realism",
        ("--no-images", "--live-seconds", "0", "--days", "90", "--scale", "0.1"),
        ("--no-images", "--live-seconds", "0"), 900,
    ),
)  # fmt: skip
"""In the order in which they run: what the README quotes first."""
