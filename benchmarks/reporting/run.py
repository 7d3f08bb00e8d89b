"""Runs the benchmarks one after the other, each in a process of its own, and keeps what they find.

Each runs in a process group of its own, which is killed as a whole at the benchmark's limit. One
that fails, takes too long or lacks a package is reported as such, and the next one runs. The report
is written after each, so that a run that is interrupted leaves what it has.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.common import Result, end, machine
from benchmarks.reporting.plan import SMALL_LIMIT_S, Planned, Scale
from jangteo.stack import embedded
from shop.settings.stack_servers import SERVER_PREFIXES

PACKAGES: Final = ("bytewax", "confluent-kafka", "polars", "psycopg", "redis", "numpy", "msgspec")
_TAIL: Final = 600
"""Characters of a failed benchmark's output that the report quotes."""


@dataclass(frozen=True)
class Entry:
    """What one benchmark found.

    Attributes:
        title: of its section.
        command: that repeats it.
        scale: small or full.
        at: when it ended, UTC, ISO 8601.
        machine: on which it ran.
        versions: of servers and packages.
        load: load average of the minute before it, and of the minute in which it ended.
        seconds: that it took.
        error: why there are no results, or which exit code it ended with; empty if all is well.
        results: its figures.
        before: figures of the run before at the same scale, by name of the result.
        before_at: when that was.
    """

    title: str
    command: str
    scale: str
    at: str
    machine: str
    versions: Mapping[str, str]
    load: tuple[float, float]
    seconds: float
    error: str = ""
    results: tuple[Result, ...] = ()
    before: Mapping[str, float] = field(default_factory=dict)
    before_at: str = ""

    def find(self, name: str) -> Result:
        """Return the result of this name; if there is none, the first whose name begins so.

        Raises:
            KeyError: if there is none.
        """
        matching = [result for result in self.results if result.name.startswith(name)]
        for result in sorted(matching, key=lambda result: result.name != name):
            return result
        raise KeyError(f"no result {name!r} in {self.title!r}")


Report = dict[str, Entry]
"""Name of a benchmark -> what it found; in the order of the plan."""


def load(path: Path) -> Report:
    """Return a report that was written before; an empty one if there is none."""
    if not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {
        name: Entry(
            **{
                **entry,
                "load": tuple(entry["load"]),
                "results": tuple(Result(**result) for result in entry["results"]),
            }
        )
        for name, entry in found.items()
    }


def versions() -> dict[str, str]:
    """Return the versions of the servers and of the packages that matter for speed."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="jangteo-bench-") as name:
        for kind in (embedded.EmbeddedPostgres, embedded.Broker, embedded.EmbeddedRedis):
            server = kind(Path(name))
            with contextlib.suppress(Exception):  # the report is worth more than this line
                found[server.title.removeprefix("Embedded")] = server.version
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def environment() -> dict[str, str]:
    """Return the environment without the addresses of a shop that runs here."""
    ours = (*SERVER_PREFIXES, "JANGTEO_")
    return {k: v for k, v in os.environ.items() if not k.startswith(ours)}


def run(
    planned: Planned, scale: Scale, argv: Sequence[str], last: Entry | None, left_s: float
) -> Entry:
    """Run one benchmark and return what it found.

    Args:
        planned: the benchmark.
        scale: which of its sizes.
        argv: its command, see `Planned.argv`.
        last: its entry in the last report.
        left_s: seconds that are left for this benchmark and all after it.
    """
    before, began = os.getloadavg()[0], time.monotonic()
    results: tuple[Result, ...] = ()
    with tempfile.TemporaryDirectory(prefix="jangteo-report-") as name:
        out = Path(name, "figures.json")
        missing = planned.missing()
        limit = min(planned.limit_s if scale == "full" else SMALL_LIMIT_S, left_s)
        if missing:
            error = f"not run: needs the packages {', '.join(missing)} (pip install jangteo[bench])"
        elif limit <= 0:
            error = "not run: the time for all benchmarks is over (--minutes)"
        else:
            error = _supervise([*argv, "--json", str(out)], Path(name, "output"), limit)
        if out.is_file():
            try:
                figures = json.loads(out.read_text(encoding="utf-8"))
                results = tuple(Result(**result) for result in figures["results"])
            except (ValueError, KeyError, TypeError) as e:  # killed while it wrote them
                error = error or f"its figures cannot be read: {e}"
    same = last if last is not None and last.scale == scale and last.results else None
    return Entry(
        planned.title,
        " ".join(["python", *argv[1:]]),
        scale,
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        machine(),
        versions(),
        (round(before, 1), round(os.getloadavg()[0], 1)),
        round(time.monotonic() - began, 1),
        error,
        results,
        {r.name: r.value for r in same.results} if same else {},
        same.at if same else "",
    )


def _supervise(argv: Sequence[str], output: Path, limit_s: float) -> str:
    """Run a command for at most `limit_s` seconds; return what went wrong, empty if nothing."""
    with output.open("wb") as out:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment(), text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(limit_s)
            error = f"exit code {code}" if code else ""
        except subprocess.TimeoutExpired:
            error = f"ended after {limit_s:,.0f} s, its limit"
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                end(process)  # those with a group of their own, as a console at a terminal
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # those whose parent has ended
            process.wait()
    if not error:
        return ""
    words = " ".join(output.read_text(encoding="utf-8", errors="replace").split())
    return f"{error}: ... {words[-_TAIL:]}"
