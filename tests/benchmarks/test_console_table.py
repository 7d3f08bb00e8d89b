"""The tables of docs/console.md are made of the benchmark's figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.common import Result, save
from benchmarks.console import __main__ as command
from benchmarks.console import table
from benchmarks.reporting.pages import END

FIGURES = [
    Result("live: CPU", 3.71, "% of a core", goal="<= 5"),
    Result("frozen: CPU", 1.62, "% of a core", goal="<= 1"),
    Result("down: memory", 80.7, "MB"),
    Result("kaskade, down: memory", 91.2, "MB"),
    Result("dolphie, down: memory", 90.0, "MB"),
]


def test_figures_have_their_goals_and_others_stand_next_to_ours() -> None:
    text = table.block(FIGURES, ["a machine", "a machine"])
    assert text.startswith("Measured on a machine:\n")
    assert "| live: CPU, % of a core | 3.7 | <= 5 | met |" in text
    assert "| frozen: CPU, % of a core | 1.6 | <= 1 | **missed** |" in text
    assert "| memory, MB | 81 | 91 | 90 | 0.88 | 0.90 |" in text
    assert "kaskade, down" not in text


def test_the_page_is_written_from_the_files_of_several_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a figure that two runs have, the last file's counts: an hour is measured on its own."""
    page = tmp_path / "console.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(command, "PAGE", page)
    save(tmp_path / "a.json", FIGURES)
    hour = Result("ordinary: memory after 60 min", 99.0, "MB", goal="<= 110")
    save(tmp_path / "b.json", [hour, Result("live: CPU", 4.2, "% of a core", goal="<= 5")])
    command.write_tables([tmp_path / "a.json", tmp_path / "b.json"])
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{table.BEGIN}\n\nMeasured on ")
    assert text.endswith(f"\n{END}\nafter\n")
    assert "| live: CPU, % of a core | 4.2 | <= 5 | met |" in text
    assert "| ordinary: memory after 60 min, MB | 99 | <= 110 | met |" in text
    assert "old" not in text
    machine = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["machine"]
    assert text.count(machine) == 1


def test_the_page_has_the_goals_of_the_benchmark_and_judges_by_them() -> None:
    page = command.PAGE.read_text(encoding="utf-8")
    _, found, rest = page.partition(table.BEGIN)
    assert found
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in rest.partition(END)[0].splitlines()
        if line.startswith("| ") and line.count("|") == 5
    ][1:]
    assert rows
    for name, measured, goal, verdict in rows:
        bound = command.GOALS.get(name)
        assert goal == ("" if bound is None else f"<= {bound:g}"), name
        if bound is not None and float(measured) != bound:  # which may be a figure just above it
            assert verdict == ("met" if float(measured) < bound else "**missed**"), name
