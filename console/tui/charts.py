"""The tab of the charts: every series on one time axis, marks of what happened, a map of lags."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from console import rules
from console import translations as msg
from console.mark_kinds import kind_of
from console.series import SERIES, Mark, Series, now_of
from console.snapshot.model import Snapshot
from console.text import duration, krw, number, percent, size
from console.tui import appearance
from console.tui.cells import width
from console.tui.view import (
    Drawn,
    Line,
    PanelView,
    Part,
    cell,
    content,
    count,
    limited,
    more,
    trouble,
)
from shop.clock import KST, UTC

_LABEL = 12
"""Cells of the scale at the left of a chart."""
_TWO_COLUMNS = 110
_GRADES = "grades"
_BLANKS = " \u2800"
"""The second is the braille pattern without dots."""
"""Not one series, but one for each grade."""
_ORDER = (
    "lag", "misses", "in", "out", "refresh", "spend", _GRADES, "dead letters", "ops", "memory",
)  # fmt: skip
_LEAST_HIGH = {"misses": 0.05}
"""A chart that ends here at least: five misses in a hundred are no mountain."""
_MOST_HIGH = 12
"""Lines of a chart at the most."""
_GAP = 2
"""Cells between two columns of charts."""


def charts(view: PanelView) -> Drawn:
    """Draw as many series as fit, the marks, and the time axis."""
    return _charts(_ORDER, view)


def charts_of(*names: str) -> Callable[[PanelView], Drawn]:
    """Return what draws some series, the marks, and the time axis."""
    return lambda view: _charts(names, view)


def _charts(wanted: Sequence[str], view: PanelView) -> Drawn:
    columns, wide, cells = _layout(view.width)
    foot = [_marks(view, cells), axis(view, cells)]
    room = view.height - len(foot)
    rows = max(2, min(_MOST_HIGH, room // math.ceil(len(wanted) / columns) - 1))
    fit_ = max(1, room // (rows + 1)) * columns
    names = wanted if view.history.grade_names else [n for n in wanted if n != _GRADES]
    blocks = [_block(name, wide, cells, rows, view) for name in names[:fit_]]
    lines: list[Line] = []
    for at in range(0, len(blocks), columns):
        pair = blocks[at : at + columns]
        for parts in zip(*pair, strict=True):
            line: list[Part] = []
            for number_, part in enumerate(parts):
                line += [*part, " " * _GAP] if number_ < len(parts) - 1 else part
            lines.append(line)
    if columns == 2:
        foot = [[*line, " " * _GAP, *line] for line in foot]
    hidden = len(names) - len(blocks)
    lines = limited(lines, view.sized(view.width, max(1, room)), hidden=hidden)
    return content([*lines, *foot])


def _layout(wide: int) -> tuple[int, int, int]:
    """Return the number of columns, the cells of each, and those of its charts."""
    columns = 2 if wide >= _TWO_COLUMNS else 1
    each = (wide - _GAP * (columns - 1)) // columns
    return columns, each, max(8, each - _LABEL - 1)


def column_at(x: int, wide: int) -> tuple[int, int] | None:
    """Return the column of a chart at a cell of the panel, and their number; None outside it."""
    _, each, cells = _layout(wide)
    at = x % (each + _GAP) - _LABEL - 1
    return (at, cells) if 0 <= at < cells else None


def time_at(column: int, cells: int, view: PanelView) -> datetime:
    """Return the time of a column of a chart: its mark's, if it has one."""
    mark = view.history.marks_in(view.end, view.span, cells).get(column)
    if mark is not None:
        return datetime.fromtimestamp(mark.at, UTC)
    return view.end - timedelta(seconds=view.span * (1 - (column + 0.5) / cells))


def points(name: str, cells: int, view: PanelView) -> Series:
    """Return a series in the time that charts show."""
    return view.history.columns(name, view.end, view.span, cells)


def lines_of(name: str, cells: int, rows: int, view: PanelView) -> tuple[list[str], float]:
    """Draw a series as a line above zero; return its lines and its highest value."""
    if view.options.ascii:
        found = points(name, cells, view)
        high = _high(name, found)
        return appearance.columns(found, cells, rows, high), high
    found = points(name, 2 * cells, view)
    high = _high(name, found)
    return appearance.braille(found, cells, rows, high), high


def scale(name: str, drawn: Sequence[str], high: float, view: PanelView) -> list[str]:
    """Return what stands next to each line of a chart: its highest value, and 0 at the bottom.

    A chart of nothing has none, which could be read as a value of 0.
    """
    texts = [""] * len(drawn)
    if "".join(drawn).strip(_BLANKS):
        texts[-1] = "0"
        texts[0] = shown(name, high, view)
    return texts


def marked(lines: Sequence[str], view: PanelView) -> list[list[Part]]:
    """Return the lines of a chart with what happened: a rule in each cell that they leave empty.

    The moment that is shown is a rule too, where the chart continues after it.
    """
    cells = len(lines[0]) if lines else 0
    found = view.history.marks_in(view.end, view.span, cells)
    ruled = {column: mark_style(mark) for column, mark in found.items()}
    here = _moment_column(cells, view)
    if here is not None:
        ruled[here] = f"{appearance.ACCENT} bold"
    if not ruled:
        return [[(line, appearance.BAR)] for line in lines]
    blank, rule, moment = (" ", "|", "!") if view.options.ascii else (" \u2800", "┊", "┃")
    return [
        joined(
            (moment if column == here else rule, ruled[column])
            if column in ruled and (column == here or char in blank)
            else (char, appearance.BAR)
            for column, char in enumerate(line)
        )
        for line in lines
    ]


def _moment_column(cells: int, view: PanelView) -> int | None:
    """Return the column of the moment that is shown; None: it is the end of the chart."""
    left = (view.end - view.snapshot.at).total_seconds()
    return int(cells * (1 - left / view.span)) if 0 < left < view.span else None


def joined(parts: Iterable[tuple[str, str]]) -> list[Part]:
    """Return parts with neighbours of one style as one: a line is painted part by part."""
    found: list[tuple[str, str]] = []
    for text, style in parts:
        if found and found[-1][1] == style:
            found[-1] = found[-1][0] + text, style
        else:
            found.append((text, style))
    return [*found]


def mark_style(mark: Mark) -> str:
    """Return the style of a mark: its level's."""
    styles = {"error": appearance.BAD, "warning": appearance.WARN}
    return styles.get(mark.level, appearance.ACCENT)


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


def axis(view: PanelView, cells: int, label: int = _LABEL + 1) -> Line:
    """Draw the time axis: its ends, its middle, and the zone.

    Args:
        view: for the time.
        cells: of the chart above it.
        label: cells to its left.
    """
    end = view.end.timestamp()
    form = "%H:%M:%S" if view.span <= 3600 else "%m-%d %H:%M"
    times = [
        view.end.fromtimestamp(end - view.span * share, KST).strftime(form)
        for share in (1.0, 0.5, 0.0)
    ]
    gap = cells - sum(map(len, times)) - 4
    left = max(1, gap // 2)
    text = times[0] + " " * left + times[1] + " " * max(1, gap - left) + times[2] + " KST"
    return [(cell(" " * label + text, label + cells, view), appearance.DIM)]


def _block(name: str, wide: int, cells: int, rows: int, view: PanelView) -> list[list[Part]]:
    if name == _GRADES:
        return _shares(wide, cells, rows, view)
    drawn, high = lines_of(name, cells, rows, view)
    newest = now_of(name, view.snapshot)
    title: list[Part] = [
        (cell(view(name), wide - 24, view), appearance.DIM),
        (cell(shown(name, newest, view), 24, view, right=True), appearance.BOLD),
    ]
    lines = [title]
    for highest, line in zip(scale(name, drawn, high, view), marked(drawn, view), strict=True):
        label = cell(highest, _LABEL, view, right=True)
        lines.append([(label, appearance.DIM), " ", *line])
    return lines


def _shares(wide: int, cells: int, rows: int, view: PanelView) -> list[list[Part]]:
    """Draw the share of each grade in its own band, the highest grades where not all fit.

    On one scale a grade of 1 % is a flat line next to one of 60 %.
    """
    names = view.history.grade_names[-rows:][::-1]
    title = f"{view(_GRADES)} ({view('each in its band')})"
    lines: list[list[Part]] = [[(cell(title, wide, view), appearance.DIM)]]
    now = view.snapshot.grades
    found = now.value if now.current else None
    held = (
        {g.grade: rules.share(g.customers, found.customers) for g in found.counts} if found else {}
    )
    for name in names:
        twice = view.history.grade_share(name, view.end, view.span, 2 * cells)
        known = [p for p in twice if p is not None]
        low, high = (min(known), max(known)) if known else (0.0, 0.0)
        newest = percent(held.get(name), view.options.glyphs.dash)
        if view.options.ascii:
            once = view.history.grade_share(name, view.end, view.span, cells)
            drawn = appearance.columns(once, cells, 1, high, low)[0]
        else:
            drawn = appearance.braille(twice, cells, 1, high, low)[0]
        line = marked([drawn], view)[0]
        label = cell(f"{name} {newest}", _LABEL, view, right=True)
        lines.append([(label, appearance.BOLD), " ", *line])
    lines += [[(" " * wide, "")]] * (rows - len(names))
    return lines


def _shares_now(s: Snapshot) -> dict[str, float | None]:
    """Return the share of each grade now; empty while it is not known."""
    found = s.grades.value if s.grades.current else None
    return (
        {g.grade: rules.share(g.customers, found.customers) for g in found.counts} if found else {}
    )


def _high(name: str, found: Sequence[float | None]) -> float:
    return max([_LEAST_HIGH.get(name, 0.0), *(p for p in found if p is not None)])


def _marks(view: PanelView, cells: int) -> Line:
    """Draw the letter of a mark in each column in which something happened."""
    found = view.history.marks_in(view.end, view.span, cells)
    letters = [
        (kind_of(found[c]).letter, mark_style(found[c])) if c in found else (" ", "")
        for c in range(cells)
    ]
    label = cell(view("marks"), _LABEL, view, right=True)
    return [(label, appearance.DIM), " ", *joined(letters)]


_LEVELS = "·⣀⣤⣶⣿"
"""Nothing, then more and more, by height: seen without colours, and never a solid block."""
_ASCII_LEVELS = ".-+*#"
_LEAST_LAG = 100.0
"""The map's scale ends here at least: three messages on their way are no red field."""
_HEAT_LABEL = 8
"""Cells between the name of a partition and its lags over time."""
"""Cells of a partition's name and lag, left of its row."""
_HEAT_STYLES = (appearance.DIM, appearance.BAR, appearance.BAR, appearance.WARN, appearance.BAD)


def heat(view: PanelView) -> Drawn:
    """Draw the lag of each partition over time: the higher, the more; logarithmic."""
    lines = trouble(view.snapshot.kafka, view)
    now = _lags(view.snapshot)
    longest = max((len(name) for name in now), default=0)
    name_cells = max(12, min(longest, view.width // 4))
    cells = max(8, view.width - name_cells - _HEAT_LABEL)
    found = view.history.heat(view.end, view.span, cells)
    if not found:
        return content([*lines, [(view("none yet"), appearance.DIM)]])
    known = (p for row in found.values() for p in row if p is not None)
    highest = max(_LEAST_LAG, *known)
    levels = _ASCII_LEVELS if view.options.ascii else _LEVELS
    rows: list[Line] = []
    for name, row in found.items():
        rows.append(
            [
                (cell(name, name_cells, view), ""),
                (cell(count(now.get(name), view), 6, view, right=True), appearance.BOLD),
                " ",
                *joined(_shade(p, highest, levels) for p in row),
            ]
        )
    scale = view.options.render(
        msg.HEAT_SCALE(none=levels[0], shades=levels[1:], highest=number(highest))
    )
    foot: list[Line] = [[*axis(view, cells, name_cells + _HEAT_LABEL)], [(scale, appearance.DIM)]]
    room = max(1, view.height - len(lines) - len(foot))
    if len(rows) > room:
        worst = _most_behind(found, now, room - 1)
        hidden = len(rows) - len(worst)
        rows = [*(row for at, row in enumerate(rows) if at in worst), more(hidden, view)]
    return content([*lines, *rows, *foot])


def _most_behind(
    found: Mapping[str, Sequence[float | None]], now: Mapping[str, float | None], most: int
) -> set[int]:
    """Return the positions of the partitions that were furthest behind in the time shown.

    Args:
        found: the lags of each partition, as far as they are known.
        now: their lags now.
        most: partitions for which there is room.
    """
    behind = [
        (-max((p for p in row if p is not None), default=0.0), -(now.get(name) or 0.0), at)
        for at, (name, row) in enumerate(found.items())
    ]
    return {at for _, _, at in sorted(behind)[:most]}


def _lags(s: Snapshot) -> dict[str, float | None]:
    """Return the lag of each partition now; empty while it is not known."""
    topics = s.kafka.value.topics if s.kafka.value and s.kafka.current else ()
    return {f"{t.name}-{p.partition}": p.lag for t in topics for p in t.partitions}


def _shade(value: float | None, highest: float, levels: str) -> tuple[str, str]:
    """Return the character of a lag with its style; a blank for what is not known."""
    if value is None:
        return " ", ""
    if value <= 0 or highest <= 0:
        return levels[0], _HEAT_STYLES[0]
    level = math.log1p(value) / math.log1p(highest) * (len(levels) - 1)
    at = max(1, min(len(levels) - 1, round(level)))
    return levels[at], _HEAT_STYLES[at]


def happened(view: PanelView) -> Drawn:
    """Draw what the marks mean, the newest first."""
    start = view.end.timestamp() - view.span
    marks = [m for m in view.history.marks if start <= m.at <= view.end.timestamp()]
    lines = [mark_line(mark, view) for mark in reversed(marks)]
    return content(limited(lines or [[(view("none"), appearance.DIM)]], view))


def mark_line(mark: Mark, view: PanelView) -> Line:
    """Return a mark as a line: its letter, when, and what."""
    at = f" {datetime.fromtimestamp(mark.at, KST):%m-%d %H:%M:%S} KST "
    text = view.options.render(mark.message or mark.text)
    room = max(4, view.width - width(at) - 1)
    letter = kind_of(mark).letter
    return [
        (letter, f"{mark_style(mark)} bold"), (at, appearance.DIM),
        (cell(text, room, view).rstrip(), mark_style(mark) if mark.level != "info" else ""),
    ]  # fmt: skip
