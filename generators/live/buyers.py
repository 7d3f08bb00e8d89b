"""The customers of the cache as a queue of buyers: those who are due, by propensity."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import numpy as np

from generators.behaviour import customer_model, propensity
from generators.behaviour.cache_segments import PURCHASER_SHARE
from generators.behaviour.order_events import Customers
from generators.random_streams import Ints
from generators.scenarios.timetable import NONE, ScenarioEffects
from shop.clock import utc_now
from shop.redis.cache import CachedUser

REMEMBERED: Final = 20_000
"""Own orders remembered, by customer: the cache shows an order only after the next refresh."""


class Buyers:
    """Says who places the next order.

    The 200 most inclined of the customers who are due buy, in the order of the draw; the share of
    purchasers among them is (due purchasers / 600), see `customer_model`. A customer who has bought
    is left out until the cache shows that order, and with it when he is due again. When all who
    are due have bought, the customers who are due next buy; when these have bought too, at rates
    that no shop has, everybody in the cache buys in turn.

    Args:
        rng: the stream of these choices.
        seed: of the shop, for the customers' tastes.

    Attributes:
        first_orders: orders so far that were a customer's first.
        fallback_orders: orders so far of customers who were not due.
    """

    def __init__(self, rng: np.random.Generator, *, seed: int = 1) -> None:
        self._rng = rng
        self._seed = seed
        self._recent: OrderedDict[int, int] = OrderedDict()
        self._soured: OrderedDict[int, None] = OrderedDict()
        self.first_orders = 0
        self.fallback_orders = 0
        self.load((), utc_now())

    def load(
        self, users: Sequence[CachedUser], now: datetime, effects: ScenarioEffects = NONE
    ) -> None:
        """Take the customers of a new cache, or the effects of other scenarios."""
        known = propensity.traits(users, now, self._soured)
        self._people = people(known)
        self._weights = propensity.weights(known, now, effects.segments, seed=self._seed)
        self._full = round(len(users) * PURCHASER_SHARE)
        served = np.array([self._has_bought(u) for u in users], dtype=np.bool_)
        self._buyer = ~np.isnan(known.last) | served
        due = np.array([u.due for u in users], dtype=np.bool_)
        # Of equal lengths, the places in the cache: purchasers first, as `choose` wants them.
        self._waiting = np.flatnonzero(due & ~served)
        later = [
            (customer_model.NEVER if u.due_in is None else u.due_in, i)
            for i, u in enumerate(users)
            if not (u.due or served[i])
        ]
        self._next = np.array([i for _, i in sorted(later)], dtype=np.int64)
        self._queue: list[int] = []
        self._due = True

    def next(self, now: datetime) -> int:
        """Return the id of the customer who buys now; see `take`."""
        return int(self.take(np.array([round(now.timestamp() * 1e6)])).ids[0])

    def take(self, at_us: Ints) -> Customers:
        """Return the customers who place orders at these moments.

        Args:
            at_us: shape (n,), microseconds since the Unix epoch.

        Raises:
            IndexError: if no customer is loaded.
        """
        chosen: list[int] = []
        while len(chosen) < len(at_us):
            if not self._queue:
                self._draw()
            part = self._queue[: len(at_us) - len(chosen)]
            if not part:
                raise IndexError("no customer is loaded")
            del self._queue[: len(part)]
            self.first_orders += len(part) - int(self._buyer[part].sum())
            self.fallback_orders += 0 if self._due else len(part)
            self._buyer[part] = True
            chosen += part
        customers = self._people.take(np.array(chosen, dtype=np.int64))
        self._remember(customers.ids.tolist(), at_us.tolist())
        return customers

    def disappointed(self, user_id: int) -> None:
        """Note that a customer's last order was cancelled."""
        self._soured[user_id] = None
        if len(self._soured) > REMEMBERED:
            self._soured.popitem(last=False)

    def _draw(self) -> None:
        """Fill the queue: from those who are due, else those due next, else everybody."""
        waiting = self._waiting
        self._due = len(waiting) > 0
        if self._due:
            ours, theirs = waiting[self._buyer[waiting]], waiting[~self._buyer[waiting]]
            waiting = np.concatenate([ours, theirs])
            u = self._rng.random(len(waiting))
            chosen = waiting[
                customer_model.choose(
                    self._weights[waiting], len(ours), u, customer_model.CHOSEN, full=self._full
                )
            ]
            self._waiting = np.setdiff1d(waiting, chosen)
        elif len(self._next):
            chosen, self._next = self._next, self._next[:0]
        else:
            u = self._rng.random(len(self._weights))
            chosen = customer_model.choose(self._weights, 0, u, len(u))
        self._queue = chosen.tolist()

    def _remember(self, user_ids: Sequence[int], at_us: Sequence[int]) -> None:
        # Each customer once, at the last order: of ten thousand orders most are by few customers.
        latest = dict(zip(user_ids, at_us, strict=True))
        for user_id in reversed(dict.fromkeys(reversed(user_ids))):
            self._recent[user_id] = latest[user_id]
            self._recent.move_to_end(user_id)
            self._soured.pop(user_id, None)
        while len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)

    def _has_bought(self, user: CachedUser) -> bool:
        """Return whether a customer has placed an order that this cache does not show yet."""
        ordered = self._recent.get(user.user_id)
        if ordered is None:
            return False
        last = user.last_ordered_at
        if last is not None and round(last.timestamp() * 1e6) >= ordered:
            del self._recent[user.user_id]
            return False
        return True


def people(t: propensity.Traits) -> Customers:
    """Return what the choice of goods needs to know of customers."""
    return Customers(ids=t.ids, gender=t.gender, birth_year=t.birth_year)
