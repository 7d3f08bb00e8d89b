"""What a shop costs that has nothing to do, and how soon it is there.

    python -m benchmarks.idle [--seconds 60] [--json FILE]

A shop of its own (`jangteo up`, embedded servers, no terminal), first at its own pace of an order
every 3 to 5 s, then with its generators paused, which is what "idle" means here: the cache is still
refreshed, customers are still graded, and the ingest still looks for messages. CPU is that of all
its processes by the kernel's account, in per cent of one core. Before that: the time of
`jangteo --help`, and from the start of `up` to the first order that is stored.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import common
from benchmarks.common import Result
from shop import process_status
from shop import settings as shop_settings
from shop.redis import cache, control
from shop.settings import EMBEDDED_PORTS
from shop.settings.stack_servers import SERVER_PREFIXES

IDLE_GOAL: Final = 5
"""Per cent of a core, of all processes together."""
HELP_GOAL_MS: Final = 100
SETTLED_S: Final = 45.0
"""After the start; until then processes still start, and the broker still compiles."""
GENERATORS: Final = ("users", "products", "orders")
_FIRST_ORDER: Final = re.compile(r"first order stored ([\d.]+) s after the start")
_OPEN: Final = "the shop is open"


@contextmanager
def shop(folder: Path) -> Iterator[tuple[psutil.Process, Path, Callable[[str], float]]]:
    """Run a shop; yields its process, its data directory, and what waits for a text in its output.

    The latter returns the seconds since the start.
    """
    data, out = folder / "data", folder / "up.log"
    env = {k: v for k, v in os.environ.items() if not k.startswith((*SERVER_PREFIXES, "JANGTEO_"))}
    env |= {**dict.fromkeys(EMBEDDED_PORTS.values(), "0"), "JANGTEO_LANG": "en"}
    env["XDG_STATE_HOME"] = str(folder / "state")
    began = time.monotonic()
    with out.open("wb") as log:
        argv = [sys.executable, "-m", "jangteo", "up", "--plain", "--data-dir", str(data)]
        up = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_for(text: str, timeout: float = 180.0) -> float:
        while text not in out.read_text(encoding="utf-8", errors="replace"):
            if up.poll() is not None or time.monotonic() > began + timeout:
                raise RuntimeError(f"no {text!r}:\n{out.read_text(encoding='utf-8')[-2000:]}")
            time.sleep(0.05)
        return time.monotonic() - began

    try:
        yield psutil.Process(up.pid), data, wait_for
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(90)


def cpu_s(up: psutil.Process, data: Path) -> Mapping[str, float]:
    """Return the CPU seconds of a shop so far, by the names of its processes."""
    names = {status.pid: status.name for status in process_status.read_snapshot(data)}
    found: dict[str, float] = defaultdict(float)
    found["up"] += common.cpu_s(up.pid)
    for child in up.children():
        with suppress(psutil.NoSuchProcess):
            family = [child, *child.children(recursive=True)]
            name = next((names[p.pid] for p in family if p.pid in names), child.name())
            found[name] += common.family_cpu_s(child.pid)
    return found


def busy(up: psutil.Process, data: Path, seconds: float) -> Mapping[str, float]:
    """Return per cent of a core that each process used for some time, the busiest first."""
    before, began = cpu_s(up, data), time.monotonic()
    time.sleep(seconds)
    after, took = cpu_s(up, data), time.monotonic() - began
    used = {name: 100 * (after[name] - before.get(name, 0.0)) / took for name in after}
    return dict(sorted(used.items(), key=lambda named: -named[1]))


def results(figures: Mapping[str, float], when: str, goal: str = "") -> Iterator[Result]:
    """Yield the figures of a state of the shop, all processes together first."""
    together = sum(figures.values())
    yield Result(f"all processes, {when}", together, "% of a core", goal=goal)
    for name, value in figures.items():
        yield Result(f"{name}, {when}", value, "% of a core", chart=f"A shop, {when}, % of a core")


def help_ms(times: int = 11) -> Result:
    """Time `jangteo --help`."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "jangteo", "--help"], stdout=subprocess.DEVNULL, check=True
        )
        taken.append(1000 * (time.perf_counter() - began))
    note = f"median of {times}, {min(taken):.0f} to {max(taken):.0f}"
    name = "jangteo --help"
    return Result(name, statistics.median(taken), "ms", goal=f"<= {HELP_GOAL_MS}", note=note)


def measure(seconds: float) -> list[Result]:
    """Start a shop and measure it in both states."""
    found = [help_ms()]
    with (
        tempfile.TemporaryDirectory(prefix="jangteo-bench-") as name,
        shop(Path(name)) as (up, data, wait_for),
    ):
        found.append(Result("from the start to the open shop", wait_for(_OPEN), "s"))
        wait_for("first order stored")
        said = _FIRST_ORDER.search(Path(name, "up.log").read_text(encoding="utf-8"))
        note = "a new data directory; Apache Kafka is fetched already"
        if said:
            first = Result("from the start to the first order", float(said[1]), "s", note=note)
            found.append(first)
        time.sleep(max(0.0, SETTLED_S - (time.time() - up.create_time())))
        own_pace = busy(up, data, seconds)
        settings = shop_settings.load(data_dir=data)
        with cache.client(settings.redis_url) as r:
            for generator in GENERATORS:
                control.set_paused(r, generator, paused=True)
        time.sleep(5.0)  # what was under way is stored
        idle = busy(up, data, seconds)
    found += results(idle, "idle", f"<= {IDLE_GOAL}")
    found += results(own_pace, "at its own pace")
    return found


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle")
    parser.description, parser.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each measurement")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    print(common.machine())
    found = measure(args.seconds)
    table = Table("what", "figure", "goal", "", title="An idle shop")
    for r in found:
        goal = "" if r.met is None else f"{r.goal}: {'met' if r.met else 'missed'}"
        table.add_row(r.name, f"{r.value:,.2f} {r.unit}", goal, r.note)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if args.json:
        common.save(args.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
