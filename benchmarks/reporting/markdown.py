"""The report as Markdown, with its charts next to it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

from benchmarks.common import Result
from benchmarks.reporting.charts import chart, number
from benchmarks.reporting.run import Entry, Report

CHANGED: Final = 0.10
"""A figure that differs from the last report by more is listed at the top."""
_HEAD: Final = """# Benchmarks

Written by `python -m benchmarks all`; the figures as data are in [report.json](report.json). A
ratio is of another figure of the same run. Servers, load and program share one machine and
its cores. Green bars met their goal, red ones missed it, blue ones have none.
"""


def write(report: Report, into: Path) -> None:
    """Write `report.md` and the charts into a folder; remove charts of earlier reports."""
    into.mkdir(parents=True, exist_ok=True)
    for old in into.glob("*.svg"):
        old.unlink()
    parts = [_HEAD, "\n".join(_overview(report)), "\n".join(_changes(report))]
    for name, entry in report.items():
        parts.append("\n".join(_section(name, entry, into)))
    text = "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"
    (into / "report.md").write_text(text, encoding="utf-8")


def _overview(report: Report) -> Iterator[str]:
    yield "| benchmark | scale | ended (UTC) | took | load average | goals met | |"
    yield "|---|---|---|---|---|---|---|"
    for entry in report.values():
        goals = [r.met for r in entry.results if r.met is not None]
        met = f"{sum(goals)} of {len(goals)}" if goals else "-"
        state = _cell(entry.error[:90]) if entry.error else "ok"
        when = entry.at.replace("T", " ").removesuffix("Z")
        load = " to ".join(f"{x:.1f}" for x in entry.load)
        yield (
            f"| {entry.title} | {entry.scale} | {when} | {entry.seconds:,.0f} s | {load} "
            f"| {met} | {state} |"
        )
    yield ""
    for machine in dict.fromkeys(entry.machine for entry in report.values()):
        yield f"- Machine: {machine}"
    for line in dict.fromkeys(_versions(entry) for entry in report.values()):
        yield f"- Versions: {line}"


def _versions(entry: Entry) -> str:
    return ", ".join(f"{name} {version}" for name, version in entry.versions.items())


def _changes(report: Report) -> Iterator[str]:
    """List what differs from the last report of the same scale by more than `CHANGED`."""
    compared = [entry for entry in report.values() if entry.before]
    if not compared:
        return
    yield "## What changed since the last report"
    yield ""
    rows = [
        (abs(change), entry, result, change)
        for entry in compared
        for result in entry.results
        if (change := _change(entry, result)) is not None and abs(change) > CHANGED
    ]
    if not rows:
        yield f"Nothing by more than {CHANGED:.0%}."
        return
    yield "| benchmark | what | before | now | change |"
    yield "|---|---|---|---|---|"
    for _, entry, result, change in sorted(rows, key=lambda row: -row[0]):
        old = f"{number(entry.before[result.name])} {result.unit}".strip()
        new = f"{number(result.value)} {result.unit}".strip()
        yield f"| {entry.title} | {_cell(result.name)} | {old} | {new} | {change:+.0%} |"


def _change(entry: Entry, result: Result) -> float | None:
    old = entry.before.get(result.name)
    return None if not old else result.value / old - 1


def _section(name: str, entry: Entry, into: Path) -> Iterator[str]:
    yield f"## {entry.title}"
    yield ""
    yield f"```bash\n{entry.command}\n```"
    yield ""
    if entry.error:
        yield f"**Failed**: {_cell(entry.error)}"
        yield ""
    if not entry.results:
        return
    yield "| what | figure | ratio | goal | since the last report | |"
    yield "|---|---|---|---|---|---|"
    for result in entry.results:
        figure = f"{number(result.value)} {result.unit}".strip()
        ratio = "" if result.ratio is None else f"{number(result.ratio)} of {_cell(result.of)}"
        goal = (
            "" if result.met is None else f"{result.goal}: {'met' if result.met else '**missed**'}"
        )
        change = _change(entry, result)
        moved = "" if change is None else f"{change:+.0%}"
        name_, note = _cell(result.name), _cell(result.note)
        yield f"| {name_} | {figure} | {ratio} | {goal} | {moved} | {note} |"
    drawn = sorted((r for r in entry.results if r.chart), key=lambda r: r.chart)
    for i, (title, results) in enumerate(groupby(drawn, key=lambda r: r.chart), start=1):
        file = f"{name}-{i}.svg"
        (into / file).write_text(chart(title, list(results)), encoding="utf-8")
        yield ""
        yield f"![{title}]({file})"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
