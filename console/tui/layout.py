"""Which panels there are and in which containers; their sizes are in `console.tcss`.

A tab is made when it is shown for the first time: the first picture waits for one of seven only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Input

from console.tui import charts, customers_and_processes, kafka_and_cache
from console.tui.appearance import DisplayOptions
from console.tui.dead_letters import DeadLetterBrowser
from console.tui.header_footer import Tabs
from console.tui.objects import lists
from console.tui.panel import Draw, Lines, Panel
from console.tui.timeline.chart_panel import ChartPanel
from console.tui.timeline.time_bar import TimeBar


def widgets(options: DisplayOptions) -> ComposeResult:
    """Make the header, the first tab, and the lines below."""
    yield Lines(id="header")
    yield Lines(id="too-small")
    with Vertical(id="main"):
        yield from _overview()
    yield TimeBar(id="time-bar")
    yield Input(placeholder=options("filter"), id="filter", select_on_focus=False)
    yield Tabs(id="tabs")


def _overview() -> ComposeResult:
    with Vertical(id="overview", classes="tab -active"):
        with Vertical(id="overview-a"):
            yield Panel(kafka_and_cache.flow, "Flow", reading="kafka", id="flow")
            yield Panel(
                kafka_and_cache.partitions,
                "Partitions",
                rule=True,
                reading="kafka",
                id="partitions",
            )
        with Vertical(id="overview-b"):
            yield Panel(kafka_and_cache.countdown, "Cache", reading="redis", id="countdown")
            yield Panel(kafka_and_cache.redis, "Redis", reading="redis", id="redis")
            yield Panel(customers_and_processes.grades, "Grades", reading="grades", id="grades")
            yield Panel(kafka_and_cache.refreshes, "Refreshes", reading="redis", id="refreshes")
            yield Panel(charts.heat, "Lag by partition", reading="kafka", id="overview-heat")
        with Vertical(id="overview-c"):
            yield Panel(
                customers_and_processes.processes,
                "Processes",
                rule=True,
                reading="processes",
                id="process-list",
            )
            yield Panel(customers_and_processes.events, "Events (KST)", rule=True, id="events-tail")


def tab(name: str) -> Widget:
    """Make a tab other than the first, with its panels."""
    if name == "letters":
        return DeadLetterBrowser(id=name, classes="tab")
    return Vertical(*_MADE[name](), id=name, classes="tab")


def _kafka() -> list[Widget]:
    return [
        _panel(kafka_and_cache.groups, "Groups", "kafka", "group-lines", tall=True),
        _panel(kafka_and_cache.flow, "Flow", "kafka", "kafka-flow"),
        lists.topics(),
        lists.partitions(),
        _panel(charts.heat, "Lag by partition", "kafka", "kafka-heat"),
    ]


def _cache() -> list[Widget]:
    drawn = charts.charts_of("refresh", "misses", "ops", "memory")
    return [
        Panel(kafka_and_cache.countdown, "Cache", reading="redis", id="cache-countdown"),
        ChartPanel(drawn, "Charts", id="cache-charts"),
        _panel(kafka_and_cache.redis, "Redis", "redis", "cache-redis"),
        lists.cache_keys(),
        lists.refreshes(),
    ]


def _customers() -> list[Widget]:
    return [
        _panel(customers_and_processes.grade_run, "Grades", "grades", "grade-run"),
        ChartPanel(charts.charts_of("spend", "grades"), "Charts", id="customer-charts"),
        _panel(customers_and_processes.takings, "Top spenders", "postgres", "takings"),
        lists.grades(),
        lists.spenders(),
        lists.upgrades(),
    ]


def _processes() -> list[Widget]:
    tail = _panel(customers_and_processes.events, "Events (KST)", "", "process-events")
    return [lists.processes(), lists.scenarios(), tail]


def _charts() -> list[Widget]:
    return [
        ChartPanel(charts.charts, "Charts", id="all-charts"),
        _panel(charts.heat, "Lag by partition", "kafka", "heat"),
        _panel(charts.happened, "Marks", "", "marks"),
    ]


_MADE: Final[Mapping[str, Callable[[], list[Widget]]]] = {
    "kafka": _kafka,
    "cache": _cache,
    "customers": _customers,
    "events": lambda: [lists.events()],
    "processes": _processes,
    "charts": _charts,
}
"""The panels of each tab, row by row; those for which there is no room are hidden."""


def _panel(draw: Draw, title: str, reading: str, id_: str, *, tall: bool = False) -> Panel:
    return Panel(draw, title, rule=True, tall=tall, reading=reading, id=id_)
