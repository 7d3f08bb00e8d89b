"""The number and times of a history's orders: the demand curves times the day's scenarios."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from generators.behaviour import demand_curves
from generators.history.plan import DAY_S, Plan
from generators.random_streams import Floats
from generators.scenarios import timetable
from generators.scenarios.timetable import ScenarioEffects

Stretch: TypeAlias = tuple[float, float, ScenarioEffects]
"""Beginning, end, and the effects of the scenarios that run in between."""
DayRates: TypeAlias = tuple[Floats, Floats, list[Stretch]]
"""Edges, relative rates between them, and the stretches of a day."""


class Demand:
    """The rates of orders over the days of a plan.

    Attributes:
        base: orders per second at factor 1, such that the days together have the plan's number.
        scale: what makes the mean of the relative rates 1.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._start = plan.start.timestamp()
        mass = 0.0
        for day in range(plan.days):
            edges, rates, _ = self.rates(day)
            mass += float((np.diff(edges) * rates).sum())
        self.base = plan.orders_per_day * plan.days / mass
        self.scale = self.base * DAY_S / plan.orders_per_day

    def rates(self, day: int) -> DayRates:
        """Return edges, relative rates between them, and the stretches of a day."""
        start = self._start + day * DAY_S
        end = start + DAY_S
        spans = timetable.between(self._plan.seed, start, end) if self._plan.with_scenarios else []
        stretches = timetable.timeline(spans, start, end)
        edges = np.union1d(demand_curves.grid(start, end), [a for a, _, _ in stretches])
        which = np.searchsorted([a for a, _, _ in stretches], edges[:-1], side="right") - 1
        factor = np.array([e.rate for _, _, e in stretches])[which]
        return edges, demand_curves.multiplier(edges[:-1], self._start) * factor, stretches
