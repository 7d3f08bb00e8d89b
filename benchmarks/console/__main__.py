"""What the console costs: CPU, bytes to the terminal, latency of keys, start, memory.

    python -m benchmarks.console [--seconds 20] [--json FILE] [--kaskade PATH] [--dolphie PATH]

The real program at a pseudo-terminal of 120x40: over a shop of its own at 20 times the ordinary
rates, beside one at ordinary rates (how long it takes to start), then with every server out of
reach. kaskade and dolphie are measured next to it, with their server out of reach too, where they
are installed or named. Goals are printed with the figures, and how often the others' figure ours
is. All of them start from compiled byte code, as an installation has it.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import psutil

from benchmarks.common import Result, cpu_s, machine, open_shop, peak_memory_mb, save
from benchmarks.console.terminal import SIZE, Pty, environment
from console import poller
from console.actions.operations import Operator
from console.recording.toggle import RecordingToggle
from console.series import SPANS
from console.sources import CurrentSettings
from console.tui.app import ConsoleApp
from console.tui.appearance import DisplayOptions
from shop import settings
from shop.settings import stack_file

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
    "charts of 48 hours: CPU, % of a core": 5.0,
    "charts: key that zooms to paint, worst, ms": 100.0,
    "slow: key to paint, ms": 100.0,
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


def slow(env: Mapping[str, str]) -> Figures:
    """Measure keys over a shop in which every answer takes two seconds longer."""
    console = Pty([sys.executable, "-m", "console", "--slow", "2"], env)
    try:
        console.first_paint()
        console.pump(6)
        times = keys(console)
    finally:
        console.end()
    return {
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


def ratios(figures: Figures) -> list[str]:
    """Say how often another console's figure ours is, a line each."""
    lines = []
    for name, value in figures.items():
        other, _, what = name.partition(", down: ")
        ours = figures.get(f"down: {what}")
        if what and ours is not None and value >= 0.1:  # less is nothing to compare with
            lines.append(f"ours / {other}'s, {what}: {ours / value:.2f}")
    return lines


@contextmanager
def running(env: Mapping[str, str], folder: Path, speed: float) -> Iterator[None]:
    """Run a shop, from the moment when it is open."""
    with open_shop(env, folder, "--speed", f"{speed:g}", name=f"up-{speed:g}"):
        assert stack_file.read_stack(folder / "data")
        yield


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", type=Path)
    for name in OTHERS:
        parser.add_argument(f"--{name}", metavar="PATH", help="the program, if not on the PATH")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jangteo-bench-") as name:
        folder = Path(name)
        env = environment(folder)
        compiling = [sys.executable, "-m", "compileall", "-q", *map(str, OURS)]
        subprocess.run(compiling, env=env, check=True)
        with running(env, folder, SPEED):
            figures = live(env, args.seconds)
            figures |= asyncio.run(lag(folder, args.seconds))
        with running(env, folder, 1):
            time.sleep(SETTLED_S)
            figures |= starts(env, "ordinary") | slow(env)
        figures |= down(env, args.seconds)
        figures |= others({**env, **DEAD}, vars(args), args.seconds)
    print(machine())
    width = max(map(len, figures))
    for name_, value in figures.items():
        goal = GOALS.get(name_)
        verdict = "" if goal is None else f"goal {goal:g}: {'met' if value <= goal else 'MISSED'}"
        print(f"{name_:<{width}} {value:>8.2f}  {verdict}".rstrip())
    print(*ratios(figures), sep="\n")
    if args.json:
        goals = {name: f"<= {goal:g}" for name, goal in GOALS.items()}
        parts = [(*full.rpartition(", ")[::2], goals.get(full, "")) for full in figures]
        found = [
            Result(name, value, unit, goal=goal)
            for (name, unit, goal), value in zip(parts, figures.values(), strict=True)
        ]
        save(args.json, found)


if __name__ == "__main__":
    main()
