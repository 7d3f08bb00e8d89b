"""The customers of the cache as a queue of buyers: chosen by propensity, each once per round."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
import numpy as np

from generators.behaviour import propensity
from generators.behaviour.cache_segments import PURCHASER_SHARE
from generators.behaviour.order_events import Customers
from generators.scenarios.timetable import NONE, ScenarioEffects
from shop.clock import utc_now
from shop.redis.cache import CachedUser

STEER_EVERY: Final = 50
"""Orders between two corrections of the intercept: fewer would follow chance, not the share."""
REMEMBERED: Final = 20_000
"""Own orders remembered, by customer: the cache shows an order only after the next refresh."""


class Buyers:
    """Says who places the next order.

    Each round, the 200 most inclined customers buy once each, in the order of the draw. A round
    ends when they are used up or the cache changes.

    Args:
        rng: the stream of these choices.
        new_buyer_share: share of orders that should be a customer's first, once the cache holds
            its full number of purchasers.

    Attributes:
        first_orders: orders so far that were a customer's first.
    """

    def __init__(
        self, rng: np.random.Generator, *, new_buyer_share: float = propensity.NEW_BUYER_SHARE
    ) -> None:
        self._rng = rng
        self._new_buyer_share = new_buyer_share
        nobody = propensity.traits((), utc_now())
        self._candidates = propensity.candidates(nobody, utc_now())
        self._people = people(nobody)
        self._queue: list[int] = []
        self._placed: list[int] = []
        self._recent: OrderedDict[int, datetime] = OrderedDict()
        self._soured: OrderedDict[int, None] = OrderedDict()
        self._correction = 0.0
        self._target = 1.0
        self._seen = self._seen_first = 0
        self.first_orders = 0

    def load(
        self, users: Sequence[CachedUser], now: datetime, effects: ScenarioEffects = NONE
    ) -> None:
        """Take the customers of a new cache, or the effects of other scenarios."""
        known = propensity.traits([self._brought_up(u) for u in users], now, self._soured)
        self._candidates = propensity.candidates(known, now, effects.segments)
        self._people = people(known)
        self._queue, self._placed = [], []

    def next(self, now: datetime) -> int:
        """Return the id of the customer who buys now; see `take`."""
        return int(self.take(1, now).ids[0])

    def take(self, n: int, now: datetime) -> Customers:
        """Return the `n` customers who buy now.

        Raises:
            IndexError: if no customer is loaded.
        """
        chosen: list[int] = []
        while len(chosen) < n:
            if not self._queue:
                self._draw()
            part = self._queue[: n - len(chosen)]
            if not part:
                raise IndexError("no customer is loaded")
            del self._queue[: len(part)]
            first = len(part) - int(self._candidates.buyer[part].sum())
            self.first_orders += first
            self._seen += len(part)
            self._seen_first += first
            self._placed += part
            chosen += part
        customers = self._people.take(np.array(chosen, dtype=np.int64))
        self._remember(customers.ids.tolist(), now)
        return customers

    def disappointed(self, user_id: int) -> None:
        """Take note that a customer's last order was cancelled."""
        self._soured[user_id] = None
        if len(self._soured) > REMEMBERED:
            self._soured.popitem(last=False)

    def _draw(self) -> None:
        """Begin a round, with the last round's orders counted in."""
        c = propensity.after_orders(self._candidates, np.array(self._placed, dtype=np.int64))
        self._candidates, self._placed = c, []
        self._steer(mixed=bool(c.buyer.any() and not c.buyer.all()))
        full = round(len(c.ids) * PURCHASER_SHARE)
        self._target = propensity.target_share(int(c.buyer.sum()), full, self._new_buyer_share)
        score = propensity.scores(c)
        level = propensity.balance(score, c.buyer, self._target)
        chosen = propensity.top(c, self._rng, intercept=level + self._correction, score=score)
        self._queue = chosen.tolist()

    def _steer(self, *, mixed: bool) -> None:
        if self._seen < STEER_EVERY:
            return
        if mixed:  # with one kind alone no intercept can change the share: do not wind it up
            observed = self._seen_first / self._seen
            self._correction = propensity.steer(self._correction, self._target, observed)
        self._seen = self._seen_first = 0

    def _remember(self, user_ids: Sequence[int], now: datetime) -> None:
        # Each once, where it came last: of ten thousand at a time most come many times.
        for user_id in reversed(dict.fromkeys(reversed(user_ids))):
            self._recent[user_id] = now
            self._recent.move_to_end(user_id)
            self._soured.pop(user_id, None)
        while len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)

    def _brought_up(self, user: CachedUser) -> CachedUser:
        """Add an own order that was not yet stored when the cache was read."""
        ordered = self._recent.get(user.user_id)
        if ordered is None:
            return user
        if user.last_ordered_at is not None and user.last_ordered_at >= ordered:
            del self._recent[user.user_id]
            return user
        return msgspec.structs.replace(
            user, purchaser=True, last_ordered_at=ordered, order_count=user.order_count + 1
        )


def people(t: propensity.Traits) -> Customers:
    """Return what the choice of goods needs to know of customers."""
    return Customers(ids=t.ids, gender=t.gender, birth_year=t.birth_year)
