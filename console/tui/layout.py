"""Which panels there are and in which containers; their sizes are in `console.tcss`.

A tab is made when it is shown for the first time: the first picture waits for one of seven only.
"""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Input

from console.tui import people, servers
from console.tui.letters import Letters
from console.tui.look import Look
from console.tui.panel import Lines, Panel


def widgets(look: Look) -> ComposeResult:
    """Make the header, the first tab, and the lines below."""
    yield Lines(id="header")
    yield Lines(id="too-small")
    with Vertical(id="main"):
        yield from _overview()
    yield Input(placeholder=look("filter"), id="filter", select_on_focus=False)
    yield Lines(id="tabs")


def _overview() -> ComposeResult:
    with Vertical(id="overview", classes="tab -active"):
        with Vertical(id="overview-a"):
            yield Panel(servers.flow, "Flow", id="flow")
            yield Panel(servers.partitions, "Partitions", rule=True, id="partitions")
        with Vertical(id="overview-b"):
            yield Panel(servers.countdown, "Cache", id="countdown")
            yield Panel(servers.redis, "Redis", id="redis")
            yield Panel(people.grades, "Grades", id="grades")
            yield Panel(servers.refreshes, "Refreshes", id="refreshes")
        with Vertical(id="overview-c"):
            yield Panel(people.processes, "Processes", rule=True, id="process-list")
            yield Panel(people.events, "Events", rule=True, id="events-tail")


def tab(name: str, look: Look) -> Widget:
    """Make a tab other than the first, with its panels."""
    if name == "letters":
        return Letters(look, id=name, classes="tab")
    scrolled = {
        "kafka": Panel(servers.every_partition, "Partitions", tall=True, id="offsets"),
        "cache": Panel(servers.refreshes, "Refreshes", tall=True, id="refresh-list"),
        "events": Panel(people.every_event, "Events", tall=True, id="all-events"),
        "processes": Panel(people.every_process, "Processes", tall=True, id="all-processes"),
    }
    fixed = {
        "kafka": [Panel(servers.groups, "Groups", rule=True, tall=True, id="group-lines")],
        "cache": [
            Panel(servers.countdown, "Cache", id="cache-countdown"),
            Panel(servers.redis, "Redis", rule=True, id="cache-redis"),
        ],
        "customers": [
            Panel(people.grades, "Grades", rule=True, id="all-grades"),
            Panel(people.spenders, "Top spenders", rule=True, id="spender-list"),
            Panel(people.upgrades, "Grade changes", rule=True, id="upgrade-list"),
        ],
    }
    panels: list[Widget] = [*fixed.get(name, ())]
    if name in scrolled:
        panels.append(VerticalScroll(scrolled[name], classes="scroll"))
    return Vertical(*panels, id=name, classes="tab")
