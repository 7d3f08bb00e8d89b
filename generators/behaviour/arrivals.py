"""When the next event comes: gap laws, and a pacer that keeps time at any rate.

A law gives the gap after each event from one uniform number; numbers and arrays are both taken.
At any rate the pacer adds up gaps, many at a time where many are due: the moments are the same
whether they are drawn one by one or in thousands, so every rate follows the same law. Adding
exponential gaps is the same process as a Poisson count in each tick with its events placed evenly
at random, but it does not depend on where a tick ends: a slow machine makes the same stream as a
fast one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, TypeAlias

import numpy as np

from generators.behaviour.customer_model import sign_up_rate
from generators.portable_math import interpolate
from generators.random_streams import Floats, Ints, exponential

Number: TypeAlias = "float | Floats"
Count: TypeAlias = "int | Ints"

LONGEST_BACKLOG_S: Final = 1.0
"""How much missed time is caught up.

After a stall (a suspended machine, Kafka away) every event made would be dated now: catching up
ten minutes would be a burst that no customer caused, against servers that have just come back.
One second is enough to ride out a garbage collection or a slow disk without losing rate.
"""
FIRST_BLOCK: Final = 64
"""Gaps drawn at a time at first, then twice as many each time while more are due."""


class Law(Protocol):
    """Says how long after one event the next one comes."""

    def gap(self, u: Number, made: Count) -> Number:
        """Return seconds to the next event; for arrays, of each.

        Args:
            u: uniform in [0, 1).
            made: events so far, those of earlier runs included; shape as `u` if an array.
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

    def gap(self, u: Number, made: Count) -> Number:  # noqa: ARG002  (of all laws; this one needs less)
        """Return seconds to the next event."""
        return self.low + (self.high - self.low) * u


@dataclass(frozen=True)
class SignUps:
    """Sign-ups at the rate that follows from their number, see `customer_model.sign_up_rate`.

    A restart continues where the curve was, without a date to remember. Single gaps are uniform
    within half to one and a half of the mean.

    >>> SignUps().rate(np.array([0, 330_000, 5_760_000])).round(2).tolist()
    [1.0, 0.59, 0.11]
    """

    def rate(self, made: Count) -> Number:
        """Return sign-ups per second when there have been `made`."""
        rates = sign_up_rate(made)
        return rates if np.ndim(made) else float(rates[0])

    def gap(self, u: Number, made: Count) -> Number:
        """Return seconds to the next sign-up."""
        return (0.5 + u) / self.rate(made)


@dataclass(frozen=True)
class Constant:
    """The same number of events each second.

    >>> Constant(50).gap(0.1, made=7)
    0.02
    """

    rate: float

    def gap(self, u: Number, made: Count) -> Number:  # noqa: ARG002  (of all laws; this one needs less)
        """Return seconds to the next event; an array for an array."""
        return 0.0 * u + 1 / self.rate


@dataclass(frozen=True)
class Listings:
    """New products at their own gaps until the catalogue is full, then `slower` times as rarely.

    One product in 7 s would be 4.5 million a year. A shop of a tenth of that is already large,
    and what is listed beyond it only replaces what nobody orders any more.

    Attributes:
        gaps: while the catalogue grows, seconds.
        full: products at which it counts as full; 20,000 are there after 39 hours.
        slower: factor on the gaps from then on.

    >>> Listings().gap(0.5, np.array([0, 20_000])).tolist()
    [7.0, 70.0]
    """

    gaps: Uniform = Uniform(6, 8)
    full: int = 20_000
    slower: float = 10.0

    def gap(self, u: Number, made: Count) -> Number:
        """Return seconds to the next product."""
        return self.gaps.gap(u, made) * np.where(made >= self.full, self.slower, 1.0)


@dataclass(frozen=True)
class Poisson:
    """Another law's mean gaps, but memoryless: a Poisson process instead of a metronome.

    Gaps uniform in 3 to 5 s have a coefficient of variation of 0.144; those of independent
    customers have 1. Scaled by a rate that changes with time it stays exact, because what is
    left of an exponential gap is exponential again.

    >>> round(float(Poisson(Uniform(3, 5)).gap(1 - np.exp(-1), made=0)), 12)
    4.0
    """

    law: Law

    def gap(self, u: Number, made: Count) -> Number:
        """Return seconds to the next event."""
        return exponential(u) * self.law.gap(0.5, made)


@dataclass(frozen=True)
class Faster:
    """Another law with all gaps divided by a factor.

    >>> Faster(Uniform(3, 5), 50).gap(0.5, made=0)
    0.08
    """

    law: Law
    factor: float

    def gap(self, u: Number, made: Count) -> Number:
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
    makes hundreds at a time instead of sleeping 10,000 times. Single delays do not add up,
    because each event is due a gap after the one before was due, not after it was made.

    Args:
        law: the gaps.
        rng: one uniform number is used per event, taken in blocks.
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
        self._numbers: Floats = np.empty(0)
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

    @property
    def made(self) -> int:
        """Events so far, those of earlier runs and of other processes included."""
        return self._made

    @made.setter
    def made(self, value: int) -> None:
        self._made = value

    def due(self, limit: int) -> Floats:
        """Return the moments of the events to make now, at most `limit`; they count as made.

        Returns:
            Ascending, on the clock of the pacer; none later than now.
        """
        now = self._monotonic()
        self._next = max(self._next, now - LONGEST_BACKLOG_S)
        parts, block = [], FIRST_BLOCK
        while limit > 0 and self._next <= now:
            times = self._ahead(min(limit, block))
            count = int(np.searchsorted(times[:-1], now, side="right"))
            parts.append(times[:count])
            self._numbers = self._numbers[count:]
            self._made += count
            self._next = float(times[count])
            limit -= count
            block *= 2
        return np.concatenate(parts) if parts else np.empty(0)

    def _ahead(self, n: int) -> Floats:
        """Return the moments of the next `n` events and of the one after them."""
        gaps = self._law.gap(self._uniform(n), self._made + 1 + np.arange(n)) / self._factor
        return np.cumsum(np.concatenate([[self._next], np.broadcast_to(gaps, n)]))

    def _uniform(self, n: int) -> Floats:
        """Return the next `n` uniform numbers, without using them up."""
        if len(self._numbers) < n:
            more = self._rng.random(max(n, FIRST_BLOCK))
            self._numbers = np.concatenate([self._numbers, more])
        return self._numbers[:n]

    def wait(self) -> float:
        """Return seconds until the next event is due, 0 if one already is."""
        return max(0.0, self._next - self._monotonic())

    def restart(self) -> None:
        """Forget what was missed: the next event is due one gap from now."""
        self._next = self._monotonic() + self._gap()

    def _gap(self) -> float:
        u = float(self._uniform(1)[0])
        self._numbers = self._numbers[1:]
        return float(self._law.gap(u, self._made)) / self._factor


def instants(now: datetime, ago: Floats) -> Ints:
    """Return when events happened, microseconds since the Unix epoch.

    Args:
        now: UTC.
        ago: shape (n,), seconds before now.
    """
    result: Ints = round(now.timestamp() * 1e6) - np.round(ago * 1e6).astype(np.int64)
    return result


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
    return interpolate(when, mass, edges)


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
    return interpolate(np.sort(rng.random(n)) * mass[-1], mass, edges)
