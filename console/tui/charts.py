"""The tab of the charts: every series on one time axis, marks of what happened, a map of lags."""

from __future__ import annotations

import math
from collections.abc import Sequence

from console import translations as msg
from console.series import SERIES, Series
from console.text import duration, krw, number, percent, size
from console.tui import appearance
from console.tui.cells import width
from console.tui.view import Drawn, Line, PanelView, Part, cell, content, limited, trouble
from shop.clock import KST

_LABEL = 9
"""Cells of the scale at the left of a chart."""
_TWO_COLUMNS = 110
_ORDER = ("lag", "misses", "in", "out", "refresh", "spend", "dead letters", "ops", "memory")
_LEAST_HIGH = {"misses": 0.05}
"""A chart that ends here at least: five misses in a hundred are no mountain."""


def charts(view: PanelView) -> Drawn:
    """Draw as many series as fit, the marks, and the time axis."""
    columns = 2 if view.width >= _TWO_COLUMNS else 1
    wide = (view.width - 2 * (columns - 1)) // columns
    cells = max(8, wide - _LABEL - 1)
    foot = [_marks(view, cells), axis(view, cells)]
    names = [*_ORDER]
    room = view.height - len(foot)
    rows = max(2, min(6, room // math.ceil(len(names) / columns) - 1))
    fit_ = max(1, room // (rows + 1)) * columns
    blocks = [_block(name, wide, cells, rows, view) for name in names[:fit_]]
    lines: list[Line] = []
    for at in range(0, len(blocks), columns):
        pair = blocks[at : at + columns]
        for parts in zip(*pair, strict=True):
            line: list[Part] = []
            for number_, part in enumerate(parts):
                line += [*part, "  "] if number_ < len(parts) - 1 else part
            lines.append(line)
    if columns == 2:
        foot = [[*line, "  ", *line] for line in foot]
    hidden = len(names) - len(blocks)
    lines = limited(lines, view.sized(view.width, max(1, room)), hidden=hidden)
    return content([*lines, *foot])


def points(name: str, cells: int, view: PanelView) -> Series:
    """Return a series in the time that charts show."""
    return view.history.columns(name, view.end, view.span, cells)


def lines_of(name: str, cells: int, rows: int, view: PanelView) -> tuple[list[str], float]:
    """Draw a series as a line that stands on zero; return its lines and its highest value."""
    if view.options.ascii or rows < 2:
        found = points(name, cells, view)
        high = _high(name, found)
        return appearance.spark(found, cells, rows, view.options.glyphs, high), high
    found = points(name, 2 * cells, view)
    high = _high(name, found)
    return appearance.braille(found, cells, rows, high), high


def shown(name: str, value: float | None, view: PanelView) -> str:
    """Return a value of a series with its unit."""
    if value is None:
        return view.options.glyphs.dash
    unit = SERIES[name].unit
    if unit == "B":
        return size(value)
    if unit == "%":
        return percent(value)
    if unit == "s":
        return duration(value)
    if unit == "KRW":
        return krw(int(value), view.options.lang, short=True)
    return number(value) + unit


def axis(view: PanelView, cells: int) -> Line:
    """Draw the time axis: its ends, its middle, and the zone."""
    end = view.end.timestamp()
    form = "%H:%M:%S" if view.span <= 3600 else "%m-%d %H:%M"
    times = [
        view.end.fromtimestamp(end - view.span * share, KST).strftime(form)
        for share in (1.0, 0.5, 0.0)
    ]
    gap = cells - sum(map(len, times)) - 4
    left = max(1, gap // 2)
    text = times[0] + " " * left + times[1] + " " * max(1, gap - left) + times[2] + " KST"
    return [(cell(f"{'':{_LABEL}} {text}", _LABEL + 1 + cells, view), appearance.DIM)]


def _block(name: str, wide: int, cells: int, rows: int, view: PanelView) -> list[list[Part]]:
    drawn, high = lines_of(name, cells, rows, view)
    found = points(name, cells, view)
    newest = next((p for p in reversed(found) if p is not None), None)
    title: list[Part] = [
        (cell(view(name), wide - 24, view), appearance.DIM),
        (cell(shown(name, newest, view), 24, view, right=True), appearance.BOLD),
    ]
    lines = [title]
    for at, line in enumerate(drawn):
        label = shown(name, high, view) if at == 0 else "0" if at == rows - 1 else ""
        lines.append(
            [(cell(label, _LABEL, view, right=True), appearance.DIM), " ", (line, appearance.BAR)]
        )
    return lines


def _high(name: str, found: Sequence[float | None]) -> float:
    return max([_LEAST_HIGH.get(name, 0.0), *(p for p in found if p is not None)])


def _marks(view: PanelView, cells: int) -> Line:
    """Draw a mark in each column in which something happened."""
    found = view.history.marks_in(view.end, view.span, cells)
    line: list[Part] = [(cell(view("marks"), _LABEL, view, right=True), appearance.DIM), " "]
    styles = {"error": appearance.BAD, "warning": appearance.WARN}
    for column in range(cells):
        mark = found.get(column)
        if mark is None:
            line.append(" ")
        else:
            style = styles.get(mark.level, appearance.ACCENT)
            line.append((view.options.glyphs.falling, style))
    return line


def heat(view: PanelView) -> Drawn:
    """Draw the lag of each partition over time: the darker, the more; logarithmic."""
    lines = trouble(view.snapshot.kafka, view)
    cells = max(8, view.width - 20)
    found = view.history.heat(view.end, view.span, cells)
    if not found:
        return content([*lines, [(view("none yet"), appearance.DIM)]])
    highest = max((p for row in found.values() for p in row if p is not None), default=0.0)
    shades = " .:*#" if view.options.ascii else " ░▒▓█"
    unknown = "?" if view.options.ascii else "·"
    rows: list[Line] = []
    for name, row in found.items():
        text = "".join(_shade(p, highest, shades, unknown) for p in row)
        newest = next((p for p in reversed(row) if p is not None), None)
        rows.append(
            [
                (cell(name, 12, view), ""),
                (cell(number(newest, view.options.glyphs.dash), 6, view, right=True), "bold"),
                " ",
                (text, appearance.WARN),
            ]
        )
    scale = view.options.render(msg.SCALE(shades=shades[1:], highest=number(highest)))
    foot: list[Line] = [[*axis(view, cells + 9)], [(scale, appearance.DIM)]]
    kept = limited(rows, view.sized(view.width, max(1, view.height - len(lines) - len(foot))))
    return content([*lines, *kept, *foot])


def _shade(value: float | None, highest: float, shades: str, unknown: str) -> str:
    if value is None:
        return unknown
    if value <= 0 or highest <= 0:
        return shades[0]
    level = math.log1p(value) / math.log1p(highest) * (len(shades) - 1)
    return shades[max(1, min(len(shades) - 1, round(level)))]


def happened(view: PanelView) -> Drawn:
    """Draw what the marks stand for, the newest first."""
    start = view.end.timestamp() - view.span
    marks = [m for m in view.history.marks if start <= m.at <= view.end.timestamp()]
    lines: list[Line] = []
    styles = {"error": appearance.BAD, "warning": appearance.WARN}
    for mark in reversed(marks):
        at = view.end.fromtimestamp(mark.at, KST).strftime("%m-%d %H:%M:%S KST ")
        room = max(4, view.width - width(at))
        lines.append(
            [
                (at, appearance.DIM),
                (
                    cell(view.options.render(mark.message or mark.text), room, view).rstrip(),
                    styles.get(mark.level, ""),
                ),
            ]
        )
    return content(limited(lines or [[(view("none"), appearance.DIM)]], view))
