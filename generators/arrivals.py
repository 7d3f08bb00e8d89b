"""When the next event comes: gap laws, and a pacer that keeps time at any rate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from generators.streams import Floats, exponential

LONGEST_BACKLOG_S: Final = 1.0
"""How much missed time is caught up.

After a stall (a suspended machine, Kafka away) every event made would be dated now: catching up
ten minutes would be a burst that no customer caused, against servers that have just come back.
One second is enough to ride out a garbage collection or a slow disk without losing rate.
"""


class Law(Protocol):
    """Says how long after one event the next one comes."""

    def gap(self, u: float, made: int) -> float:
        """Return seconds to the next event.

        Args:
            u: uniform in [0, 1).
            made: events so far, those of earlier runs included.
        """
        ...


@dataclass(frozen=True)
class Uniform:
    """Gaps uniform between two lengths, in seconds.

    >>> Uniform(3, 5).gap(0.5, made=0)
    4.0
    """

    low: float
    high: float

    def gap(self, u: float, made: int) -> float:  # noqa: ARG002
        """Return seconds to the next event."""
        return self.low + (self.high - self.low) * u


@dataclass(frozen=True)
class SignUps:
    """Sign-ups on an S-curve: N(t) = K tanh(k t / 2) with k = 2 r0 / K, and a floor.

    The curve is the solution of dN/dt = r0 (1 - (N / K)^2), so its rate is known from the number
    of customers alone: a restart goes on where the curve was, without a date to remember. Single
    gaps are uniform within half to one and a half of the mean.

    Attributes:
        ceiling: K, customers at saturation.
        first_rate: r0, per second: 10 in the first 10 s.
        floor: per second. A shop that lives goes on winning customers: 0.02/s are 1,728 a day, 8 %
            of its 21,600 orders, the least share of first-time buyers of a mature shop. The curve
            falls below it after about a month.

    >>> law = SignUps()
    >>> law.rate(0), round(law.rate(500_000), 3), law.rate(1_000_000)
    (1.0, 0.75, 0.02)
    """

    ceiling: float = 1_000_000
    first_rate: float = 1.0
    floor: float = 0.02

    def rate(self, made: int) -> float:
        """Return sign-ups per second when there have been `made`."""
        return max(self.floor, self.first_rate * (1 - min(1.0, made / self.ceiling) ** 2))

    def gap(self, u: float, made: int) -> float:
        """Return seconds to the next sign-up."""
        return (0.5 + u) / self.rate(made)


@dataclass(frozen=True)
class Constant:
    """The same number of events each second.

    >>> Constant(50).gap(0.1, made=7)
    0.02
    """

    rate: float

    def gap(self, u: float, made: int) -> float:  # noqa: ARG002
        """Return seconds to the next event."""
        return 1 / self.rate


@dataclass(frozen=True)
class Listings:
    """New products at their own gaps until the catalogue is full, then `slower` times as rarely.

    One product in 7 s would be 4.5 million a year. A shop of a tenth of that is already large,
    and what is listed beyond it only replaces what nobody orders any more.

    Attributes:
        gaps: while the catalogue grows, seconds.
        full: products at which it counts as full; 20,000 are there after 39 hours.
        slower: factor on the gaps from then on.

    >>> Listings().gap(0.5, made=0), Listings().gap(0.5, made=20_000)
    (7.0, 70.0)
    """

    gaps: Uniform = Uniform(6, 8)
    full: int = 20_000
    slower: float = 10.0

    def gap(self, u: float, made: int) -> float:
        """Return seconds to the next product."""
        return self.gaps.gap(u, made) * (self.slower if made >= self.full else 1.0)


@dataclass(frozen=True)
class Poisson:
    """Another law's mean gaps, but memoryless: a Poisson process instead of a metronome.

    Gaps uniform in 3 to 5 s have a coefficient of variation of 0.144; those of independent
    customers have 1. Scaled by a rate that changes with time it stays exact, because what is
    left of an exponential gap is exponential again.

    >>> Poisson(Uniform(3, 5)).gap(1 - math.exp(-1), made=0)
    4.0
    """

    law: Law

    def gap(self, u: float, made: int) -> float:
        """Return seconds to the next event."""
        return -math.log1p(-u) * self.law.gap(0.5, made)


@dataclass(frozen=True)
class Faster:
    """Another law with all gaps divided by a factor.

    >>> Faster(Uniform(3, 5), 50).gap(0.5, made=0)
    0.08
    """

    law: Law
    factor: float

    def gap(self, u: float, made: int) -> float:
        """Return seconds to the next event."""
        return self.law.gap(u, made) / self.factor


ORDERS: Final = Uniform(3, 5)
PRODUCTS: Final = Listings()
SIGN_UPS: Final = SignUps()


def law_for(natural: Law, *, speed: float, rate: float | None) -> Law:
    """Return the law to use: an explicit rate per second, else the natural law times the speed."""
    return Faster(natural, speed) if rate is None else Constant(rate)


class Pacer:
    """Tells how many events are due, and how long until the next one.

    The caller waits, asks how many are due, makes that many, and so on: at 10,000 a second it
    makes a hundred at a time instead of sleeping 10,000 times. Single delays do not add up,
    because each event is due a gap after the one before was due, not after it was made.

    Args:
        law: the gaps.
        rng: one uniform number is taken per event, none at a constant rate.
        made: events of earlier runs.
        monotonic: seconds of a clock that never steps.
    """

    def __init__(
        self,
        law: Law,
        rng: np.random.Generator,
        *,
        made: int = 0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._law = law
        self._rng = rng
        self._made = made
        self._monotonic = monotonic
        self._factor = 1.0
        self._next = monotonic() + self._gap()

    @property
    def factor(self) -> float:
        """By how much all rates are multiplied; what is left of the gap is rescaled at once."""
        return self._factor

    @factor.setter
    def factor(self, value: float) -> None:
        if value != self._factor:
            now = self._monotonic()
            self._next = now + (self._next - now) * self._factor / value
            self._factor = value

    def due(self, limit: int) -> int:
        """Return how many events to make now, at most `limit`; they count as made."""
        now = self._monotonic()
        self._next = max(self._next, now - LONGEST_BACKLOG_S)
        if isinstance(self._law, Constant):  # 100,000 gaps a second need not be drawn one by one
            return self._due_steadily(now, limit)
        count = 0
        while count < limit and self._next <= now:
            count += 1
            self._made += 1
            self._next += self._gap()
        return count

    def _due_steadily(self, now: float, limit: int) -> int:
        if self._next > now:
            return 0
        gap = self._gap()
        count = min(limit, int((now - self._next) / gap) + 1)
        self._made += count
        self._next += count * gap
        return count

    def wait(self) -> float:
        """Return seconds until the next event is due, 0 if one already is."""
        return max(0.0, self._next - self._monotonic())

    def restart(self) -> None:
        """Forget what was missed: the next event is due one gap from now."""
        self._next = self._monotonic() + self._gap()

    def _gap(self) -> float:
        u = 0.5 if isinstance(self._law, Constant) else float(self._rng.random())
        return self._law.gap(u, self._made) / self._factor


def poisson_times(edges: Floats, rates: Floats, rng: np.random.Generator) -> Floats:
    """Return the event times of a Poisson process whose rate is constant between edges.

    By time rescaling: unit exponential gaps, added up and sent through the inverse of the
    cumulative rate. Exact, without a bound or a rejected draw.

    Args:
        edges: shape (k + 1,), ascending.
        rates: shape (k,), events per unit of `edges`, none negative.
        rng: numbers are taken in blocks.

    Returns:
        Ascending times within [edges[0], edges[-1]).
    """
    mass = np.concatenate([[0.0], np.cumsum(np.diff(edges) * rates)])
    total, passed, parts = float(mass[-1]), 0.0, []
    block = max(64, int(total * 1.1))
    while passed < total:
        sums = passed + np.cumsum(exponential(rng.random(block)))
        parts.append(sums[sums < total])
        passed = float(sums[-1])
    when = np.concatenate(parts) if parts else np.empty(0)
    times: Floats = np.interp(when, mass, edges)
    return times


def fixed_times(edges: Floats, rates: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Return `n` ascending times with a density that is constant between edges.

    Given their number, the events of a Poisson process are so distributed.

    Args:
        edges: shape (k + 1,), ascending.
        rates: shape (k,), at least one positive.
        n: how many.
        rng: n numbers are taken.
    """
    # Relative to the highest rate: among the least of doubles a slope would overflow.
    mass = np.concatenate([[0.0], np.cumsum(np.diff(edges) * (rates / rates.max()))])
    times: Floats = np.interp(np.sort(rng.random(n)) * mass[-1], mass, edges)
    return times
