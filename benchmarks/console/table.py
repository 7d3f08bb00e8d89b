"""The tables of docs/console.md, made of figures of the benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from benchmarks.common import Result

BEGIN: Final = "<!-- measured: written by `python -m benchmarks.console --table FILE` -->"
_OURS: Final = "down: "
_THEIRS: Final = ", down: "


def block(results: Sequence[Result], machines: Sequence[str]) -> str:
    """Return the machine, our figures with their goals, and those of other consoles next to ours.

    Args:
        results: of the benchmark; those of another console are called "kaskade, down: ...".
        machines: on which they were measured.
    """
    ours = [r for r in results if _THEIRS not in r.name]
    parts = [
        f"Measured on {'; '.join(dict.fromkeys(machines))}:",
        "\n".join(_figures(ours)),
        "\n".join(_compared(results, {r.name: r for r in ours})),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figures(ours: Sequence[Result]) -> Iterator[str]:
    yield "| figure | measured | goal | |"
    yield "|---|---|---|---|"
    for r in ours:
        verdict = "" if r.met is None else "met" if r.met else "**missed**"
        yield f"| {r.name}, {r.unit} | {figure(r.value)} | {r.goal} | {verdict} |"


def _compared(results: Sequence[Result], ours: Mapping[str, Result]) -> Iterator[str]:
    """Yield a row for each figure that another console has too."""
    theirs: dict[str, dict[str, Result]] = {}
    for r in results:
        other, found, what = r.name.partition(_THEIRS)
        if found:
            theirs.setdefault(what, {})[other] = r
    names = list(dict.fromkeys(name for row in theirs.values() for name in row))
    if not names:
        return
    heads = ["every server out of reach", "console", *names, *(f"console / {n}" for n in names)]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for what, row in theirs.items():
        mine = ours.get(_OURS + what)
        if mine is None:
            continue
        values = [figure(row[n].value) if n in row else "" for n in names]
        ratios = [
            f"{mine.value / row[n].value:.2f}" if n in row and row[n].value else "" for n in names
        ]
        cells = [f"{what}, {mine.unit}", figure(mine.value), *values, *ratios]
        yield f"| {' | '.join(cells)} |"


def figure(value: float) -> str:
    """Return a figure with three digits at most, but whole where it is larger.

    >>> [figure(v) for v in (0.0, 0.334, 2.04, 11.26, 101.62, 1234.5)]
    ['0', '0.33', '2.0', '11', '102', '1,234']
    """
    if not value:
        return "0"
    digits = 2 if value < 1 else 1 if value < 10 else 0
    return f"{value:,.{digits}f}"
