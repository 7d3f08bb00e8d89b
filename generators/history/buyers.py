"""Who buys on a day of a history: in blocks, as from the live cache.

Each block looks at what the cache would hold: the purchasers who are due, least recently ordered
first, and of the others those whose wish is the latest. Every customer whose `due` has come is in
exactly one place: waiting, or, if it comes later today, on one of today's lists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import Final

import numpy as np

from generators.behaviour import customer_model, propensity
from generators.behaviour.propensity import MULTIPLIERS
from generators.history.customers import HistoryCustomers
from generators.history.plan import Plan
from generators.random_streams import Floats, Ints, least, stream
from generators.scenarios.table import Segment

AHEAD: Final = 8_192
"""Others who are scored at a time: on most days, all who are looked at are among the first."""
Lift = Callable[[propensity.Traits, Sequence[Segment]], Floats]


class DayOfBuyers:
    """The customers who may buy on a day.

    Args:
        plan: of the history.
        customers: all of them, those of the day included.
        clock: orders that the shop has taken at the beginning of the day.
        orders: how many it takes on the day.
        random_pool: whether others are drawn at random instead of by the time of their wish.
        score: returns logarithms of the inclination of customers, by place.
        lift: returns what scenarios add to it.
        day: its number.

    Attributes:
        fallback: orders of customers who were not due, as nobody else was there.
    """

    def __init__(
        self,
        plan: Plan,
        customers: HistoryCustomers,
        clock: int,
        orders: int,
        *,
        day: int,
        random_pool: bool,
        score: Callable[[Ints], Floats],
        lift: Lift,
    ) -> None:
        self._plan = plan
        self._customers = c = customers
        self._clock, self._end = clock, clock + orders
        self._random_pool = random_pool
        self._score, self._lift = score, lift
        self._rng = stream(plan.seed, f"simulate/choice/{day}")
        self.fallback = 0
        due = c.due <= self._end
        bought = c.orders > 0
        old = np.flatnonzero(due & bought)
        old = old[np.argsort(c.due[old], kind="stable")]
        self._spend = np.sort(c.spent[old])
        new = np.flatnonzero(due & ~bought & (c.due > clock - plan.customers.patience))
        new = new[np.argsort(c.due[new], kind="stable")]
        # Purchasers: who waits, by their last order, and who comes, by due.
        known = int(np.searchsorted(c.due[old], clock, side="right"))
        self._waiting = old[:known][np.argsort(c.last[old[:known]], kind="stable")]
        self._coming, self._coming_due, self._next = old[known:], c.due[old[known:]], 0
        self._again: list[tuple[int, int]] = []  # a heap of those who ordered today: due, place
        self._unready: set[int] = set()
        # Others, by due: of `_stack` those below `_top` wait, those from `_future` on come.
        self._stack, self._stack_due = new, c.due[new]
        self._top = self._future = int(np.searchsorted(self._stack_due, clock, side="right"))
        self._ready(old)
        self._scored = len(new) if random_pool else self._top
        self._ready(new if random_pool else new[self._top :])

    def _ready(self, places: Ints) -> None:
        """Draw what is needed of customers before they are looked at."""
        c = self._customers
        if len(places):
            c.look_ahead(places)
            score = self._score(places)
            score += np.where(c.orders[places] > 0, self._standing(c.spent[places]), 0.0)
            c.score[places] = score

    def _standing(self, spent: Ints) -> Floats:
        """Return what their spend adds to scores, by its rank among the purchasers of the day."""
        below = np.searchsorted(self._spend, spent, side="left")
        upto = np.searchsorted(self._spend, spent, side="right")
        result: Floats = MULTIPLIERS.spend * ((below + upto) / max(len(self._spend), 1) - 1)
        return result

    def _come(self) -> None:
        """Let those wait whose due has come."""
        clock, c = self._clock, self._customers
        upto = int(np.searchsorted(self._coming_due, clock, side="right"))
        arrived = [self._waiting, self._coming[self._next : upto]]
        self._next = upto
        again = []
        while self._again and self._again[0][0] <= clock:
            again.append(heappop(self._again)[1])
        if again:
            arrived.append(np.array(again, np.int64))
            if not self._unready.isdisjoint(again):
                c.look_ahead(np.array(sorted(self._unready), np.int64))
                self._unready.clear()
        waiting = np.concatenate(arrived)
        if len(waiting) > len(self._waiting):
            waiting = waiting[np.argsort(c.last[waiting], kind="stable")]
        self._waiting = waiting
        upto = int(np.searchsorted(self._stack_due, clock, side="right"))
        n = upto - self._future
        if n > 0:
            self._stack[self._top : self._top + n] = self._stack[self._future : upto]
            self._top, self._future = self._top + n, upto

    def _others(self) -> tuple[Ints, Ints]:
        """Return the places in the stack, and the customers, of those who are looked at."""
        most = self._plan.others
        if self._top <= most:
            where = np.arange(self._top)
        elif self._random_pool:
            where = np.unique((self._rng.random(most) * self._top).astype(np.int64))
        else:
            where = np.arange(self._top - most, self._top)
        if len(where) and where[0] < self._scored and not self._random_pool:
            low = max(0, int(where[0]) - AHEAD)
            self._ready(self._stack[low : self._scored])
            self._scored = low
        return where, self._stack[where]

    def block(self, size: int, segments: Sequence[Segment], ids: Ints) -> Ints:
        """Return the places of the customers who buy next, in their order.

        Args:
            size: how many.
            segments: whose inclination a scenario lifts.
            ids: of the orders.
        """
        self._come()
        c, full = self._customers, self._plan.purchasers
        old = self._waiting[:full]
        where, new = self._others()
        pool = np.concatenate([old, new])
        score = c.score[pool].astype(np.float64)
        if segments:
            score += self._lift(c.traits(pool), segments)
        chosen = customer_model.choose(
            customer_model.weights(score), len(old), self._rng.random(len(pool)), size, full=full
        )
        stays = np.ones(len(pool), np.bool_)
        stays[chosen] = False
        self._waiting = np.concatenate([old[stays[: len(old)]], self._waiting[len(old) :]])
        gone = where[~stays[len(old) :]]
        if len(gone):
            low = int(gone[0])
            rest = np.delete(self._stack[low : self._top], gone - low)
            self._stack[low : low + len(rest)] = rest
            self._top -= len(gone)
            self._scored = min(self._scored, self._top)
        buyers = pool[chosen]
        if len(buyers) < size:
            buyers = np.concatenate([buyers, self._early(size - len(buyers), buyers)])
        self._ordered(buyers, ids)
        return buyers

    def _early(self, n: int, besides: Ints) -> Ints:
        """Return customers who are not due yet, the soonest first: a shop must sell."""
        self.fallback += n
        c = self._customers
        soonest = least(c.due, n + len(besides))
        soonest = soonest[~np.isin(soonest, besides)]
        soonest = soonest[np.argsort(c.due[soonest], kind="stable")][:n]
        if not len(soonest):
            return np.resize(besides, n)
        found = np.resize(soonest, n)
        self._ready(soonest)
        # They are no longer to come.
        keep = ~np.isin(self._coming[self._next :], soonest)
        self._coming = self._coming[self._next :][keep]
        self._coming_due, self._next = c.due[self._coming], 0
        early = set(soonest.tolist())
        self._again = [item for item in self._again if item[1] not in early]
        heapify(self._again)
        future = self._stack[self._future :]
        future = future[~np.isin(future, soonest)]
        waits = self._stack[: self._top]
        waits = waits[~np.isin(waits, soonest)]
        self._waiting = self._waiting[~np.isin(self._waiting, soonest)]
        self._top = self._future = len(waits)
        self._scored = min(self._scored, self._top)
        self._stack = np.concatenate([waits, future])
        self._stack_due = np.concatenate([np.full(len(waits), self._clock), c.due[future]])
        return found

    def _ordered(self, who: Ints, ids: Ints) -> None:
        """Note that these customers placed orders; of several by one customer the last counts."""
        c = self._customers
        numbers = self._clock + 1 + np.arange(len(who))
        delay = c.next_delay[who]
        c.due[who] = np.where(delay < customer_model.NEVER, numbers + delay, customer_model.NEVER)
        np.add.at(c.orders, who, 1)
        c.last[who] = ids
        self._clock += len(who)
        again = np.unique(who[c.due[who] <= self._end])
        for item in zip(c.due[again].tolist(), again.tolist(), strict=True):
            heappush(self._again, item)
        # Looked ahead of together, when the first of them comes: four a block, one by one, would
        # take a third of the time of all.
        self._unready.update(again.tolist())

    def places(self) -> list[Ints]:
        """Return the place of every customer whose `due` is before the end of the day."""
        self._come()
        again = np.array([place for _, place in self._again], np.int64)
        return [
            self._waiting, self._coming[self._next :], again,
            self._stack[: self._top], self._stack[self._future :],
        ]  # fmt: skip
