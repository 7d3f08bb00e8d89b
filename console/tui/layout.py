"""Which panels there are and in which containers; their sizes are in `console.tcss`."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Input, Static

from console.tui import people, servers
from console.tui.letters import Letters
from console.tui.look import Look
from console.tui.panel import Panel


def widgets(look: Look) -> ComposeResult:
    """Make the header, a container per tab, and the lines below."""
    yield Static("", id="header", markup=False)
    yield Static("", id="too-small", markup=False)
    with Vertical(id="main"):
        yield from _overview()
        with Vertical(id="kafka", classes="tab"):
            yield Panel(servers.groups, "Groups", rule=True, id="group-lines")
            with VerticalScroll(classes="scroll"):
                yield Panel(servers.every_partition, "Partitions", tall=True, id="offsets")
        with Vertical(id="cache", classes="tab"):
            yield Panel(servers.countdown, "Cache", id="cache-countdown")
            yield Panel(servers.redis, "Redis", rule=True, id="cache-redis")
            with VerticalScroll(classes="scroll"):
                yield Panel(servers.refreshes, "Refreshes", tall=True, id="refresh-list")
        with Vertical(id="customers", classes="tab"):
            yield Panel(people.grades, "Grades", rule=True, id="all-grades")
            yield Panel(people.spenders, "Top spenders", rule=True, id="spender-list")
            yield Panel(people.upgrades, "Grade changes", rule=True, id="upgrade-list")
        with Vertical(id="events", classes="tab"), VerticalScroll(classes="scroll"):
            yield Panel(people.every_event, "Events", tall=True, id="all-events")
        with Vertical(id="processes", classes="tab"), VerticalScroll(classes="scroll"):
            yield Panel(people.every_process, "Processes", tall=True, id="all-processes")
        yield Letters(look, id="letters", classes="tab")
    yield Input(placeholder=look("filter"), id="filter", select_on_focus=False)
    yield Static("", id="tabs", markup=False)


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
