"""Which panels there are and in which containers; their sizes are in `console.tcss`.

A tab is made when it is shown for the first time: the first picture waits for one of seven only.
"""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Input

from console.tui import customers_and_processes, kafka_and_cache
from console.tui.appearance import DisplayOptions
from console.tui.dead_letters import DeadLetterBrowser
from console.tui.panel import Lines, Panel


def widgets(options: DisplayOptions) -> ComposeResult:
    """Make the header, the first tab, and the lines below."""
    yield Lines(id="header")
    yield Lines(id="too-small")
    with Vertical(id="main"):
        yield from _overview()
    yield Input(placeholder=options("filter"), id="filter", select_on_focus=False)
    yield Lines(id="tabs")


def _overview() -> ComposeResult:
    with Vertical(id="overview", classes="tab -active"):
        with Vertical(id="overview-a"):
            yield Panel(kafka_and_cache.flow, "Flow", id="flow")
            yield Panel(kafka_and_cache.partitions, "Partitions", rule=True, id="partitions")
        with Vertical(id="overview-b"):
            yield Panel(kafka_and_cache.countdown, "Cache", id="countdown")
            yield Panel(kafka_and_cache.redis, "Redis", id="redis")
            yield Panel(customers_and_processes.grades, "Grades", id="grades")
            yield Panel(kafka_and_cache.refreshes, "Refreshes", id="refreshes")
        with Vertical(id="overview-c"):
            yield Panel(
                customers_and_processes.processes, "Processes", rule=True, id="process-list"
            )
            yield Panel(customers_and_processes.events, "Events", rule=True, id="events-tail")


def tab(name: str, options: DisplayOptions) -> Widget:
    """Make a tab other than the first, with its panels."""
    if name == "letters":
        return DeadLetterBrowser(options, id=name, classes="tab")
    scrolled = {
        "kafka": Panel(kafka_and_cache.every_partition, "Partitions", tall=True, id="offsets"),
        "cache": Panel(kafka_and_cache.refreshes, "Refreshes", tall=True, id="refresh-list"),
        "events": Panel(customers_and_processes.every_event, "Events", tall=True, id="all-events"),
        "processes": Panel(
            customers_and_processes.every_process, "Processes", tall=True, id="all-processes"
        ),
    }
    fixed = {
        "kafka": [Panel(kafka_and_cache.groups, "Groups", rule=True, tall=True, id="group-lines")],
        "cache": [
            Panel(kafka_and_cache.countdown, "Cache", id="cache-countdown"),
            Panel(kafka_and_cache.redis, "Redis", rule=True, id="cache-redis"),
        ],
        "customers": [
            Panel(customers_and_processes.grades, "Grades", rule=True, id="all-grades"),
            Panel(customers_and_processes.spenders, "Top spenders", rule=True, id="spender-list"),
            Panel(customers_and_processes.upgrades, "Grade changes", rule=True, id="upgrade-list"),
        ],
    }
    panels: list[Widget] = [*fixed.get(name, ())]
    if name in scrolled:
        panels.append(VerticalScroll(scrolled[name], classes="scroll"))
    return Vertical(*panels, id=name, classes="tab")
