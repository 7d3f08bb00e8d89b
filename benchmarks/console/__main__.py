"""What the console costs: CPU, bytes to the terminal, latency of keys, start, memory.

    python -m benchmarks.console [--seconds 20] [--json FILE] [--kaskade PATH] [--dolphie PATH]
    python -m benchmarks.console --minutes 60 [--json FILE]
    python -m benchmarks.console --table FILE...

The real program at a pseudo-terminal of 120x40: `live` over a shop of its own at 20 times the
ordinary rates, `ordinary` over one at ordinary rates, `slow` over that one where every answer of
Kafka, PostgreSQL and Redis comes 2 s later, `down` with every server out of reach. kaskade and
dolphie are measured next to it, with their server out of reach too, where they are installed or
named. The tables that are printed have the goals, and the ratio of our figures to the others'. All
of them start from compiled byte code, as an installation has it.

`--minutes` measures memory alone, over a shop at ordinary rates, and `--table` writes the tables of
docs/console.md from the JSON of runs; of a figure that two of them have, the last file's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import psutil

from benchmarks.common import Result, cpu_s, machine, open_shop, peak_memory_mb, save
from benchmarks.console import table
from benchmarks.console.terminal import SIZE, Pty, environment
from benchmarks.reporting.pages import replaced
from console import poller
from console.actions.operations import Operator
from console.recording.toggle import RecordingToggle
from console.series import SPANS
from console.sources import CurrentSettings
from console.tui.app import ConsoleApp
from console.tui.appearance import DisplayOptions
from shop import settings
from shop.settings import stack_file
from shop.settings.stack_servers import SERVER_PREFIXES
from tests.support.network_proxy import Proxy

OURS = tuple(Path(__file__).parents[2] / room for room in ("console", "shop", "jangteo"))
DEAD = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "POSTGRES_HOST": "127.0.0.1",
    "POSTGRES_PORT": "1",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}
GOALS: Mapping[str, float] = {
    "live: CPU, % of a core": 5.0,
    "live: written to the terminal, KiB/s": 80.0,
    "live: memory, MB": 110.0,
    "ordinary: memory after 60 min, MB": 110.0,
    "charts of 48 hours: CPU, % of a core": 5.0,
    "charts: key that zooms to paint, worst, ms": 100.0,
    "slow: key to paint, ms": 100.0,
    "slow: first paint, s": 0.6,
    "live: loop lag p95, ms": 30.0,
    "live: loop lag p99, ms": 100.0,
    "live: first paint while the shop itself still starts, s": 0.6,
    "live: first paint, s": 0.6,
    "ordinary: first paint, s": 0.6,
    "frozen: CPU, % of a core": 1.0,
    "down: CPU, % of a core": 5.0,
    "down: key to paint, ms": 100.0,
    "down: first paint, s": 0.6,
}
OTHERS: Mapping[str, Sequence[str]] = {
    "kaskade": ("admin", "-b", "127.0.0.1:1"),
    "dolphie": ("-h", "127.0.0.1", "-P", "1", "-u", "nobody"),
}
"""Other consoles, and the arguments with which they begin with a server that is not there."""
SPEED = 20
"""Times the ordinary rates, for what a busy shop costs."""
SETTLED_S = 45.0
"""A shop that is open still starts its processes; by then, as measured, it has long done so."""
STARTS = 5
"""How often it is started for the first paint."""
LATE_S: Final = 2.0
"""Seconds by which a slow server answers later."""
PAGE: Final = Path(__file__).parents[2] / "docs" / "console.md"
AT_MINUTES: Final = (1, 5, 21, 60)
"""When memory is measured."""


Figures: TypeAlias = dict[str, float]
"""Name of a figure, with its unit, -> value."""


def starts(env: Mapping[str, str], state: str) -> Figures:
    """Start it several times; return medians of the first paint and of the CPU until then."""
    paints, cpu = [], []
    for _ in range(STARTS):
        console = Pty([sys.executable, "-m", "console"], env)
        try:
            paints.append(console.first_paint())
            cpu.append(cpu_s(console.process.pid))  # hardly depends on what else runs
        finally:
            console.end()
    return {
        f"{state}: first paint, s": statistics.median(paints),
        f"{state}: first paint, worst of {STARTS}, s": max(paints),
        f"{state}: CPU until then, s": statistics.median(cpu),
    }


def live(env: Mapping[str, str], seconds: float) -> dict[str, float]:
    """Measure over a running shop."""
    began = time.monotonic()
    console = Pty([sys.executable, "-m", "console"], env)
    try:
        paint = console.first_paint()
        console.wait_for(b"BRONZE")
        console.pump(5)
        cpu, written = console.cost(seconds)
        zooms, charted = charts(console, seconds / 2)
        memory = peak_memory_mb(console.process.pid)
        console.press("1")
        console.pump(1)
        console.press("p")
        console.pump(1)
        frozen, frozen_written = console.cost(seconds / 2)
    finally:
        console.end()
    time.sleep(max(0.0, began + SETTLED_S - time.monotonic()))
    started = starts(env, "live")
    return {
        "live: first paint while the shop itself still starts, s": paint,
        **started,
        "live: CPU, % of a core": cpu,
        "live: written to the terminal, KiB/s": written,
        "live: memory, MB": memory,
        "charts: key that zooms to paint, worst, ms": max(zooms),
        "charts of 48 hours: CPU, % of a core": charted,
        "frozen: CPU, % of a core": frozen,
        "frozen: written to the terminal, KiB/s": frozen_written,
    }


def charts(console: Pty, seconds: float) -> tuple[list[float], float]:
    """Zoom out to 48 hours; return milliseconds of each key, and percent of a core there."""
    console.press("8")
    console.pump(2)
    times = []
    for _ in SPANS:
        console.tail = b""
        console.press("w")
        times.append(1000 * console.wait_for(b"charts:"))
        console.pump(3)
    return times, console.cost(seconds)[0]


def keys(console: Pty) -> list[float]:
    """Go from tab to tab; return milliseconds of each key until its tab is there."""
    times = []
    for _ in range(10):
        for key, text in (("2", b"Groups"), ("4", b"Grades")):
            console.tail = b""
            console.press(key)
            times.append(1000 * console.wait_for(text))
            console.pump(0.1)
    return times


@contextmanager
def late(env: Mapping[str, str], folder: Path) -> Iterator[dict[str, str]]:
    """Yield an environment in which every answer of the shop's servers comes `LATE_S` later."""
    found = settings.load(data_dir=folder / "data")
    cache = urlsplit(found.redis_url)
    broker = urlsplit(f"//{found.kafka.bootstrap_servers}")
    with ExitStack() as stack:
        kafka, database, redis = (
            stack.enter_context(Proxy(port or 0, host or "", advertised=names))
            for host, port, names in (
                (broker.hostname, broker.port, True),
                (found.postgres.host, found.postgres.port, False),
                (cache.hostname, cache.port, False),
            )
        )
        for proxy in (kafka, database, redis):
            proxy.delay = LATE_S / 2  # each way
        login = f"{cache.netloc.rpartition('@')[0]}@" if "@" in cache.netloc else ""
        yield {
            **env,
            **{
                name: value for name, value in found.env.items() if name.startswith(SERVER_PREFIXES)
            },
            "KAFKA_BOOTSTRAP_SERVERS": f"{broker.hostname}:{kafka.port}",
            "POSTGRES_PORT": str(database.port),
            "REDIS_URL": cache._replace(netloc=f"{login}127.0.0.1:{redis.port}").geturl(),
        }


def slow(env: Mapping[str, str], folder: Path) -> Figures:
    """Measure over a shop in which every answer comes two seconds later."""
    with late(env, folder) as far:
        console = Pty([sys.executable, "-m", "console"], far)
        try:
            console.wait_for(b"BRONZE")  # PostgreSQL has answered, and is called slow
            console.pump(5)
            times = keys(console)
        finally:
            console.end()
        started = starts(far, "slow")
    return {
        **started,
        "slow: key to paint, ms": statistics.median(times),
        "slow: key to paint, worst of 20, ms": max(times),
    }


def down(env: Mapping[str, str], seconds: float) -> dict[str, float]:
    """Measure with every server out of reach."""
    console = Pty([sys.executable, "-m", "console"], {**env, **DEAD})
    try:
        console.wait_for(b"unreachable")
        console.pump(5)
        cpu, written = console.cost(seconds)
        memory = peak_memory_mb(console.process.pid)
        times = keys(console)
    finally:
        console.end()
    return {
        **starts({**env, **DEAD}, "down"),
        "down: memory, MB": memory,
        "down: CPU, % of a core": cpu,
        "down: written to the terminal, KiB/s": written,
        "down: key to paint, ms": statistics.median(times),
        "down: key to paint, worst of 20, ms": max(times),
    }


async def lag(folder: Path, seconds: float) -> dict[str, float]:
    """Measure how late the event loop is, in the program itself without a terminal."""
    found = settings.load(data_dir=folder / "data")
    feed = poller.make(CurrentSettings(found, follow=False))
    feed.start()
    late: list[float] = []
    app = ConsoleApp(
        feed,
        Operator(lambda: found, refuse="-"),
        RecordingToggle(folder),
        options=DisplayOptions(),
        folder=folder,
    )
    async with app.run_test(size=SIZE):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            due = time.monotonic() + 0.02
            await asyncio.sleep(0.02)
            late.append(1000 * (time.monotonic() - due))
    feed.stop()
    cuts = statistics.quantiles(late, n=100)
    return {"live: loop lag p95, ms": cuts[94], "live: loop lag p99, ms": cuts[98]}


def memory(env: Mapping[str, str], minutes: float) -> Figures:
    """Measure memory over a shop at ordinary rates while somebody goes through all tabs."""
    console = Pty([sys.executable, "-m", "console"], env)
    found: Figures = {}
    try:
        console.first_paint()
        began = time.monotonic()
        for minute in range(1, round(minutes) + 1):
            for tab in ("12345678"[minute % 8], "1") if minute > 1 else ():
                console.press(tab)
                console.pump(5)
            console.pump(began + 60 * minute - time.monotonic())
            now = psutil.Process(console.process.pid).memory_info().rss / 1e6
            print(f"{minute} min: {now:.1f} MB", file=sys.stderr, flush=True)
            if minute in AT_MINUTES or minute == round(minutes):
                found[f"ordinary: memory after {minute} min, MB"] = now
        found["ordinary: most memory, MB"] = peak_memory_mb(console.process.pid)
    finally:
        console.end()
    return found


def others(env: Mapping[str, str], paths: Mapping[str, str | None], seconds: float) -> Figures:
    """Measure other consoles with their server out of reach, where they are installed."""
    found: Figures = {}
    for name, arguments in OTHERS.items():
        path = paths[name] or shutil.which(name)
        if path is None:
            print(f"{name}: not installed, not measured", file=sys.stderr)
            continue
        console = Pty([path, *arguments], env)
        figures: dict[str, float] = {}
        try:
            figures["first paint, s"] = console.first_paint()
            figures["CPU until then, s"] = cpu_s(console.process.pid)
            console.pump(3)
            cpu, written = console.cost(seconds)
            figures |= {
                "memory, MB": peak_memory_mb(console.process.pid),
                "CPU, % of a core": cpu,
                "written to the terminal, KiB/s": written,
            }
        except (RuntimeError, OSError, psutil.Error) as e:  # it ended: what was seen until then
            print(f"{name}: {e}", file=sys.stderr)
        finally:
            console.end()
        found |= {f"{name}, down: {what}": value for what, value in figures.items()}
    return found


@contextmanager
def running(env: Mapping[str, str], folder: Path, speed: float) -> Iterator[None]:
    """Run a shop, from the moment when it is open."""
    with open_shop(env, folder, "--speed", f"{speed:g}", name=f"up-{speed:g}"):
        assert stack_file.read_stack(folder / "data")
        yield


def write_tables(files: Sequence[Path]) -> None:
    """Write the tables of the guide from the JSON of runs."""
    read = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    found = {r["name"]: Result(**r) for each in read for r in each["results"]}
    tables = table.block(list(found.values()), [each["machine"] for each in read])
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(replaced(page, table.BEGIN, f"\n{tables}"), encoding="utf-8")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--minutes", type=float, help="measure memory alone, for MINUTES")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", type=Path, nargs="+", metavar="FILE")
    for name in OTHERS:
        parser.add_argument(f"--{name}", metavar="PATH", help="the program, if not on the PATH")
    args = parser.parse_args()
    if args.table:
        write_tables(args.table)
    else:
        measure(args)


def measure(args: argparse.Namespace) -> None:
    """Measure, print the figures with their goals, and write them."""
    with tempfile.TemporaryDirectory(prefix="jangteo-bench-") as name:
        folder = Path(name)
        env = environment(folder)
        compiling = [sys.executable, "-m", "compileall", "-q", *map(str, OURS)]
        subprocess.run(compiling, env=env, check=True)
        if args.minutes:
            with running(env, folder, 1):
                figures = memory(env, args.minutes)
        else:
            figures = every(env, folder, args)
    goals = {name: f"<= {goal:g}" for name, goal in GOALS.items()}
    found = []
    for full, value in figures.items():
        name, _, unit = full.rpartition(", ")
        found.append(Result(name, value, unit, goal=goals.get(full, "")))
    print(table.block(found, [machine()]))
    if args.json:
        save(args.json, found)


def every(env: Mapping[str, str], folder: Path, args: argparse.Namespace) -> Figures:
    """Measure everything but memory over time."""
    with running(env, folder, SPEED):
        figures = live(env, args.seconds)
        figures |= asyncio.run(lag(folder, args.seconds))
    with running(env, folder, 1):
        time.sleep(SETTLED_S)
        figures |= starts(env, "ordinary") | slow(env, folder)
    figures |= down(env, args.seconds)
    return figures | others({**env, **DEAD}, vars(args), args.seconds)


if __name__ == "__main__":
    main()
