"""Who signs up in a history: one law from the opening on, day after day, without an end.

The rate depends on the number of customers so far (`customer_model.sign_up_rate`), and on hour,
weekday, month and scenarios as orders do. A shop opens with the start population of `jangteo up`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from generators.behaviour import arrivals, customer_model, population
from generators.history.plan import DAY_S, Plan
from generators.random_streams import Floats, Ints, stream
from shop.ids import EPOCH_MS, ids_at

AT_OPENING: Final = 10_000
"""Customers of a shop that opens, at the seed's rate: those of `jangteo seed`."""
BEFORE_OPENING_S: Final = 30 * DAY_S
"""They signed up within this time before the opening, seconds; our estimate."""
_STEPS: Final = 12
"""Steps of the demand after which the rate is taken again: about an hour."""
_AT_ONCE: Final = 50_000


class SignUpsOfDay(NamedTuple):
    """Those who signed up on a day: ids, and the draws that make their profiles."""

    ids: Ints
    draws: Floats


class HistorySignUps:
    """Says who signs up on each day; a pure function of the plan, the day and the number so far.

    Args:
        plan: of the history.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._start = plan.start.timestamp()

    def opening(self) -> SignUpsOfDay:
        """Return the start population."""
        n = max(1, round(AT_OPENING * self._plan.orders_per_day / customer_model.ORDERS_PER_DAY))
        u = np.sort(stream(self._plan.seed, "simulate/opening").random(n))
        return self._of(self._start + (u - 1) * BEFORE_OPENING_S, "opening")

    def day(self, number: int, so_far: int, edges: Floats, demand: Floats) -> SignUpsOfDay:
        """Return those of a day.

        Args:
            number: of the day, from 0.
            so_far: customers at its beginning.
            edges: shape (k + 1,), within the day, seconds since 1970.
            demand: shape (k,), between the edges, relative to a mean of 1: a sale that brings five
                times as many orders brings five times as many new customers.
        """
        length, count, rates = np.diff(edges), float(so_far), np.empty(len(demand))
        for step in range(0, len(rates), _STEPS):
            part = slice(step, step + _STEPS)
            law = customer_model.sign_up_rate(int(count), self._plan.orders_per_day)
            rates[part] = demand[part] * law
            count += float((rates[part] * length[part]).sum())
        rng = stream(self._plan.seed, f"simulate/sign-ups/{number}")
        return self._of(arrivals.poisson_times(edges, rates, rng), str(number))

    def _of(self, at: Floats, name: str) -> SignUpsOfDay:
        ids = ids_at((at * 1000).astype(np.int64) - EPOCH_MS, self._plan.node)
        return SignUpsOfDay(ids, self.draws(name, len(ids)))

    def draws(self, name: str, n: int) -> Floats:
        """Return the draws of the profiles of a day's customers; ``opening`` or its number."""
        rng = stream(self._plan.seed, f"simulate/users/{name}")
        return rng.random((n, population.USER_DRAWS))


class CustomerRows:
    """The rows of all customers at the end of a history, made while they are read.

    Names and addresses of 6 million customers would take a gigabyte, so nobody holds them: they
    are drawn again, a part at a time, whenever this is iterated over.

    Args:
        plan: of the history.
        counts: number of the start population, then of each day.
        columns: ``user_id``, and what the table knows besides the profile, for each customer.
    """

    def __init__(self, plan: Plan, counts: list[int], columns: pl.DataFrame) -> None:
        self.plan = plan
        self.counts = counts
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns)

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Yield parts, `SCHEMAS["users"]` and the columns."""
        sign_ups, parts, waiting, done = HistorySignUps(self.plan), [], 0, 0
        for number, n in enumerate(self.counts):
            parts.append(sign_ups.draws("opening" if number == 0 else str(number - 1), n))
            waiting += n
            if waiting >= _AT_ONCE or number == len(self.counts) - 1:
                columns = self.columns[done : done + waiting]
                made = population.users(np.concatenate(parts), columns["user_id"].to_numpy())
                yield pl.concat([made, columns.drop("user_id")], how="horizontal")
                done, parts, waiting = done + waiting, [], 0

    def frame(self) -> pl.DataFrame:
        """Return all rows at once."""
        return pl.concat(list(self))
