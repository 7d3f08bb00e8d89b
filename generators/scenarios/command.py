"""List the scenarios, show which run now, start or stop one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import redis

from generators.scenarios import control, timetable
from generators.scenarios.table import (
    BY_NAME,
    SCENARIOS,
    Around,
    Chance,
    Dates,
    FourthFriday,
    MonthDays,
    Scenario,
    When,
)
from shop import command
from shop.clock import KST, UTC, Clock
from shop.errors import ExitCode, UnreachableError
from shop.output import say
from shop.redis import cache
from shop.server_clock import redis_time
from shop.settings import Settings


def schedule(when: When) -> str:
    """Describe when a scenario runs.

    >>> schedule(BY_NAME["black_friday"].when)
    '4th Friday of month 11, 4 days'
    """
    if isinstance(when, MonthDays):
        return "days " + ", ".join(map(str, when.rates)) + " of a month"
    if isinstance(when, Dates):
        parts = [(when.first, when.last), *([when.also] if when.also else [])]
        return ", ".join(f"{a[0]}/{a[1]} to {b[0]}/{b[1]}" for a, b in parts)
    if isinstance(when, Around):
        return f"D{when.first:+d} to D{when.last:+d} of {when.holiday}"
    if isinstance(when, FourthFriday):
        return f"4th Friday of month {when.month}, {when.days} days"
    return f"by chance, {when.per_year:g} a year"


def lasting(scenario: Scenario) -> str:
    """Return how long a run lasts when the operator does not say.

    >>> lasting(BY_NAME["flash_sale"]), lasting(BY_NAME["win_back"])
    ('30m', '3d')
    """
    minutes = round(scenario.lasts_s / 60)
    if minutes % 1_440 == 0:
        return f"{minutes // 1_440}d"
    return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"


def page_rows() -> list[str]:
    """Return the rows of the table in docs/scenarios.md; a test compares the page with them."""
    rows = []
    for s in SCENARIOS:
        goods = ", ".join(f"{k} x{f:g}" for k, f in s.categories.items())
        goods += f"{'; ' * bool(goods)}{s.focus:.0%} on {s.focus_products}" * bool(s.focus)
        off = f"{s.discount[0]}-{s.discount[1]} % on {s.discount_share:.0%}" if s.discount else ""
        pay = ", ".join(f"{m} x{f:g}" for m, f in s.payments.items())
        life = ", ".join(
            f"{word} x{f:g}" for word, f in (("cancel", s.cancel), ("refund", s.refund)) if f != 1
        )
        cells = (f"`{s.name}`", schedule(s.when), lasting(s), f"x{s.rate:g}", goods, off, pay, life)
        rows.append("| " + " | ".join((*cells, s.source)) + " |")
    return rows


def active(r: redis.Redis, seed: int, now: datetime) -> list[dict[str, Any]]:
    """Return what runs at a moment, by schedule and by the operator.

    Raises:
        redis.RedisError: if Redis does not answer.
    """
    at = now.timestamp()
    spans = timetable.between(seed, at, at + 1)
    spans += control.spans(control.started(r, now))
    return [
        {
            "scenario": s.name,
            "by": "operator" if s.manual else _by(BY_NAME[s.name]),
            "rate": round(s.rate, 3),
            "intensity": s.intensity,
            "until": datetime.fromtimestamp(_ends(spans, s), UTC).isoformat(),
        }
        for s in spans
        if s.start <= at < s.end
    ]


def _by(scenario: Scenario) -> str:
    return "seed" if isinstance(scenario.when, Chance) else "calendar"


def _ends(spans: Sequence[timetable.ScenarioSpan], span: timetable.ScenarioSpan) -> float:
    """When the run ends of which this span is a part."""
    return max(s.end for s in spans if (s.name, s.manual) == (span.name, span.manual))


def configure(parser: command.Parser) -> None:
    """Add the options of `jangteo scenario`."""
    list_ = parser.add_action("list", "list the scenarios: how long, how strong, when")
    start = parser.add_action(
        "start", "start a scenario now",
        example="jangteo scenario start flash_sale --duration 30m --intensity 2",
    )  # fmt: skip
    stop = parser.add_action("stop", "stop a scenario that `start` started")
    status = parser.add_action("status", "show the scenarios that run now")
    for action in (start, stop):
        action.add_argument(
            "name", choices=BY_NAME, metavar="NAME", help="a scenario that `list` prints"
        )
    start.add_argument(
        "--duration", type=control.seconds, metavar="TIME",
        help="stop after TIME: 90 (seconds), 30m, 2h or 3d (default: see `list`)",
    )  # fmt: skip
    start.add_argument(
        "--intensity", type=float, default=1.0, metavar="X",
        help="multiply the scenario's effect by X (default: 1)",
    )  # fmt: skip
    for action in (list_, status):
        action.add_argument("--json", action="store_true", help="print one JSON array")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the action, now."""
    return answer(args, settings)


def answer(args: argparse.Namespace, settings: Settings, clock: Clock | None = None) -> int:
    """Run the action at the time of Redis's clock or of a given one.

    Raises:
        UsageError: if the duration or the intensity is out of range.
        UnreachableError: if Redis does not answer.
    """
    if args.action == "list":
        _list(as_json=args.json)
        return ExitCode.OK
    try:
        with cache.client(settings.redis_url) as r:
            return _act(args, r, settings.seed, clock() if clock else redis_time(r))
    except redis.RedisError as e:
        raise UnreachableError(f"cannot reach Redis: {cache.explain(e)}") from None


def _act(args: argparse.Namespace, r: redis.Redis, seed: int, now: datetime) -> int:
    if args.action == "start":
        started = control.start(r, args.name, now, duration=args.duration, intensity=args.intensity)
        until = started.until.astimezone(KST)
        say(f"{args.name} runs until {until:%Y-%m-%d %H:%M:%S} (Seoul)")
    elif args.action == "stop":
        control.stop(r, args.name)
        say(f"{args.name} stopped")
    else:
        running = active(r, seed, now)
        if args.json:
            say(json.dumps(running))
        elif not running:
            say("no scenario runs")
        for s in [] if args.json else running:
            text = f"{s['scenario']:<16} x{s['rate']:<6g} by {s['by']:<9} until {s['until']}"
            say(text)
    return ExitCode.OK


def _list(*, as_json: bool) -> None:
    rows = [(s.name, lasting(s), f"x{s.rate:g}", schedule(s.when), s.title) for s in SCENARIOS]
    if as_json:
        keys = ("scenario", "lasts", "rate", "when", "title")
        say(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
        return
    for name, lasts, rate, when, title in rows:
        say(f"{name:<16} {lasts:>4} {rate:>6}  {when:<38} {title}")


if __name__ == "__main__":
    sys.exit(
        command.main(
            configure, run, prog="python -m generators.scenarios.command", description=__doc__
        )
    )
