"""Which scenarios run when, and what they do together.

A scenario's runs are spans of time, each with its own rate; spans come from the calendar, from
the seed and from the operator. `compose` makes one set of effects of those that run at a moment:
rates multiply up to 8, factors on odds multiply (tilts add in logits), the larger discount wins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Final

import numpy as np

from generators.portable_math import log, power
from generators.random_streams import stream
from generators.scenarios import korean_calendar
from generators.scenarios.table import (
    BY_NAME,
    SCENARIOS,
    Around,
    Chance,
    Dates,
    FourthFriday,
    MonthDays,
    Scenario,
    Segment,
)
from shop.clock import KST

MAX_RATE: Final = 8.0
"""However many scenarios run: a shop that is ten times as busy is another shop."""
PEAK_HOUR: Final = 1.75
"""6.5 % of a day at 21 h become 10 to 11 %."""
_PEAKS: Final = frozenset(
    day for s in SCENARIOS if isinstance(s.when, Dates) for day in s.when.peaks
)
"""Days on which nothing begins by chance: live commerce in the peak hour of 11.11 made it 12 % of
that day, not 10 to 11."""
_DAY: Final = timedelta(days=1)
_WEEKEND: Final = 5  # datetime.weekday() of Saturday


@dataclass(frozen=True, order=True)
class ScenarioSpan:
    """A scenario with one rate for some time; seconds since the Unix epoch.

    Attributes:
        start: first second.
        end: first second after it.
        name: the scenario.
        rate: factor on the rate of orders, the intensity included.
        intensity: 1 as in the table; 0 would be no effect.
        begun: start of the whole run, which may have several spans.
        manual: started by the operator.
    """

    start: float
    end: float
    name: str
    rate: float
    intensity: float = 1.0
    begun: float = 0.0
    manual: bool = False


@dataclass(frozen=True)
class ScenarioEffects:
    """What the scenarios of a moment do together; the default is none.

    Attributes:
        name: the strongest one, which orders carry; None if none runs.
        running: all of them.
        rate: factor on the rate of orders, all scenarios together.
        manual_rate: the part of those that the operator started.
        categories: category key -> logarithm of the factor on its weight.
        focus: (share of orders, number of products, what the choice of products hangs on).
        value: exponent of the price in the weight of a product.
        quantity: factor on the odds of more than one unit.
        discount: (least, most, share of orders), percent; None: none.
        payments: payment method -> factor on its odds.
        cancel: factor on the odds of a cancellation.
        refund: factor on the odds of a refund.
        segments: whose propensity rises.
    """

    name: str | None = None
    running: tuple[str, ...] = ()
    rate: float = 1.0
    manual_rate: float = 1.0
    categories: Mapping[str, float] = field(default_factory=dict)
    focus: tuple[float, int, str] | None = None
    value: float = 0.0
    quantity: float = 1.0
    discount: tuple[int, int, float] | None = None
    payments: Mapping[str, float] = field(default_factory=dict)
    cancel: float = 1.0
    refund: float = 1.0
    segments: tuple[Segment, ...] = ()


NONE: Final = ScenarioEffects()


def compose(spans: Iterable[ScenarioSpan]) -> ScenarioEffects:
    """Return what spans do together.

    >>> compose([ScenarioSpan(0, 1, "payday", 1.35), ScenarioSpan(0, 1, "black_friday", 1.8)]).rate
    2.43
    >>> compose([]) == NONE
    True
    """
    active = sorted(spans, key=_strength, reverse=True)
    if not active:
        return NONE
    table = [(BY_NAME[s.name], s) for s in active]
    categories: dict[str, float] = {}
    payments: dict[str, float] = {}
    for scenario, span in table:
        for key, factor in scenario.categories.items():
            categories[key] = categories.get(key, 0.0) + float(log(factor)) * span.intensity
        for method, factor in scenario.payments.items():
            payments[method] = payments.get(method, 1.0) * _raised(factor, span.intensity)
    return ScenarioEffects(
        name=active[0].name,
        running=tuple(s.name for s in active),
        rate=round(min(MAX_RATE, math.prod(s.rate for s in active)), 6),
        manual_rate=min(MAX_RATE, math.prod(s.rate for s in active if s.manual)),
        categories=categories,
        focus=_focus(table),
        value=sum(c.value * s.intensity for c, s in table),
        quantity=math.prod(_raised(c.quantity, s.intensity) for c, s in table),
        discount=_discount(table),
        payments=payments,
        cancel=math.prod(_raised(c.cancel, s.intensity) for c, s in table),
        refund=math.prod(_raised(c.refund, s.intensity) for c, s in table),
        segments=tuple(
            Segment(**{**vars(part), "lift": part.lift * s.intensity})
            for c, s in table
            for part in c.segments
        ),
    )


def _raised(factor: float, intensity: float) -> float:
    """Raise a factor to the power of an intensity; 0 takes a payment method away at any."""
    if intensity == 1 or factor == 0:
        return factor
    return float(power(np.float64(factor), intensity))


def _strength(span: ScenarioSpan) -> tuple[bool, float, str]:
    """The operator's own first, then by how much the rate is moved."""
    return span.manual, max(span.rate, 1 / span.rate), span.name


def _focus(table: Sequence[tuple[Scenario, ScenarioSpan]]) -> tuple[float, int, str] | None:
    focused = [
        (min(0.95, c.focus * s.intensity), c.focus_products, f"{c.name}/{int(s.begun)}")
        for c, s in table
        if c.focus
    ]
    return max(focused) if focused else None


def _discount(table: Sequence[tuple[Scenario, ScenarioSpan]]) -> tuple[int, int, float] | None:
    offered = [
        (*c.discount, min(1.0, c.discount_share * s.intensity)) for c, s in table if c.discount
    ]
    return max(offered, key=lambda d: d[1]) if offered else None


# -- from schedule to spans --------------------------------------------------------------------


def run_of(
    scenario: Scenario, begun: float, lasts: float, intensity: float = 1.0, *, manual: bool = False
) -> list[ScenarioSpan]:
    """Return the spans of one run: one per step of the scenario's shape.

    Args:
        scenario: which.
        begun: seconds since the Unix epoch.
        lasts: seconds.
        intensity: exponent of every factor.
        manual: started by the operator.

    >>> [(s.start, s.rate) for s in run_of(BY_NAME["payment_outage"], 0, 2_400)]
    [(0, 0.75), (1800.0, 1.4025)]
    """
    spans, start = [], begun
    for share, factor in scenario.shape or ((1.0, 1.0),):
        end = start + share * lasts
        rate = _raised(scenario.rate * factor, intensity)
        spans.append(ScenarioSpan(start, end, scenario.name, rate, intensity, begun, manual))
        start = end
    return spans


@cache
def year(seed: int, number: int) -> tuple[ScenarioSpan, ...]:
    """Return all scheduled spans that begin in a year (Seoul), by their start."""
    spans: list[ScenarioSpan] = []
    for scenario in SCENARIOS:
        if isinstance(scenario.when, Chance):
            spans += _by_chance(scenario, scenario.when, seed, number)
        else:
            spans += _by_calendar(scenario, number)
    return tuple(sorted(spans))


def between(seed: int, start: float, end: float) -> list[ScenarioSpan]:
    """Return the scheduled spans that overlap a time, seconds since the Unix epoch."""
    first, last = (datetime.fromtimestamp(t, KST).year for t in (start, end))
    return [
        span
        for number in range(first - 1, last + 1)
        for span in year(seed, number)
        if span.start < end and span.end > start
    ]


def timeline(
    spans: Sequence[ScenarioSpan], start: float, end: float
) -> list[tuple[float, float, ScenarioEffects]]:
    """Return (start, end, effects) of the stretches in which the same scenarios run.

    >>> [(a, b, e.name) for a, b, e in timeline([ScenarioSpan(2, 9, "payday", 1.3)], 0, 5)]
    [(0, 2, None), (2, 5, 'payday')]
    """
    edges = sorted({start, end, *(t for s in spans for t in (s.start, s.end) if start < t < end)})
    return [(a, b, compose([s for s in spans if s.start <= a < s.end])) for a, b in pairwise(edges)]


def _by_calendar(scenario: Scenario, number: int) -> list[ScenarioSpan]:
    """One span a day; the run begins with the first of days that follow one another."""
    spans: list[ScenarioSpan] = []
    begun, last = 0.0, date.min
    for day, rate in sorted(_days(scenario, number).items()):
        midnight = _midnight(day)
        begun = begun if day - last == _DAY else midnight
        last = day
        hour = scenario.when.peak_hour if isinstance(scenario.when, Dates) else None
        peak = isinstance(scenario.when, Dates) and (day.month, day.day) in scenario.when.peaks
        cuts = [0, hour, hour + 1, 24] if peak and hour is not None else [0, 24]
        for a, b in pairwise(cuts):
            factor = PEAK_HOUR if peak and a == hour else 1.0
            span = (midnight + a * 3_600, midnight + b * 3_600)
            spans.append(ScenarioSpan(*span, scenario.name, rate * factor, 1.0, begun))
    return spans


def _days(scenario: Scenario, number: int) -> dict[date, float]:
    when = scenario.when
    if isinstance(when, MonthDays):
        return _month_days(when, number)
    if isinstance(when, Dates):
        parts = [(when.first, when.last), *([when.also] if when.also else [])]
        days = [
            d for first, last in parts for d in _range(date(number, *first), date(number, *last))
        ]
        return {d: when.peaks.get((d.month, d.day), scenario.rate) for d in days}
    if isinstance(when, Around):
        return {
            day + i * _DAY: when.rates.get(i, scenario.rate)
            for day in korean_calendar.named(when.holiday, number)
            for i in range(when.first, when.last + 1)
        }
    if isinstance(when, FourthFriday):
        first = date(number, when.month, 1)
        friday = first + timedelta(days=(4 - first.weekday()) % 7 + 21)
        return dict.fromkeys(_range(friday, friday + (when.days - 1) * _DAY), scenario.rate)
    return {}


def _month_days(when: MonthDays, number: int) -> dict[date, float]:
    rates: dict[date, float] = {}
    for month in range(1, 13):
        for day, rate in when.rates.items():
            moved = date(number, month, day)
            if when.payday and moved.weekday() >= _WEEKEND:
                moved -= timedelta(days=moved.weekday() - _WEEKEND + 1)
            rates[moved] = max(rate, rates.get(moved, 0.0))
    return rates


def _range(first: date, last: date) -> list[date]:
    return [first + i * _DAY for i in range((last - first).days + 1)]


def _by_chance(scenario: Scenario, when: Chance, seed: int, number: int) -> list[ScenarioSpan]:
    days = _range(date(number, 1, 1), date(number, 12, 31))
    u = stream(seed, f"scenario/{scenario.name}/{number}").random((len(days), 2))
    allowed = [not when.months or d.month in when.months for d in days]
    chance = when.per_year / max(1, sum(allowed))
    spans: list[ScenarioSpan] = []
    for day, fits, (a, b) in zip(days, allowed, u.tolist(), strict=True):
        if fits and a < chance and (day.month, day.day) not in _PEAKS:
            begun = _midnight(day) + when.hours[int(b * len(when.hours))] * 3_600
            spans += run_of(scenario, begun, scenario.lasts_s)
    return spans


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=KST).timestamp()
