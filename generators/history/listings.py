"""What is listed in a history: a stock at the opening, then new products at one rate."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from generators.behaviour import (
    arrivals,
    catalogue,
    customer_model,
    demand_curves,
    population,
    seasons,
)
from generators.behaviour.order_events import Goods
from generators.history.plan import DAY_S, Plan
from generators.random_streams import Floats, Ints, stream
from shop.ids import EPOCH_MS, ids_at

AT_OPENING: Final = 1_000
"""Products of a shop that opens, however large: as many as its shelf shows, so that each sells."""
BEFORE_OPENING_S: Final = 365 * DAY_S
"""They were listed within this time before, seconds; ours."""
PER_DAY: Final = 80
"""New products a day at the seed's rate; ours. One product in 7 s, were each a new one, would be
4.5 million a year, of which a shelf of 300 would show each for half an hour."""
_CATEGORIES: Final = {c.label: i for i, c in enumerate(catalogue.CATEGORIES)}


class HistoryListings:
    """The products of a history, in the order of their times; seconds since 1970.

    Attributes:
        goods: products.
        listed: when they were.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._start = plan.start.timestamp()
        none = np.empty(0, np.int64)
        self.goods = Goods(none, none, none, none)
        self.listed = np.empty(0)
        self._catalogue = population.products(np.empty((0, population.PRODUCT_DRAWS)), none)
        u = np.sort(stream(plan.seed, "simulate/stock").random(AT_OPENING))
        self._list(self._start + (u - 1) * BEFORE_OPENING_S, "opening")

    def add(self, day: int) -> None:
        """Add those of a day; each once, in order."""
        start = self._start + day * DAY_S
        edges = demand_curves.grid(start, start + DAY_S)
        mean = PER_DAY * self._plan.orders_per_day / customer_model.ORDERS_PER_DAY / DAY_S
        rng = stream(self._plan.seed, f"simulate/listings/{day}")
        at = arrivals.poisson_times(edges, demand_curves.multiplier(edges[:-1]) * mean, rng)
        self._list(at, str(day))

    def _list(self, at: Floats, name: str) -> None:
        rng = stream(self._plan.seed, f"simulate/products/{name}")
        draws = rng.random((len(at), population.PRODUCT_DRAWS))
        frame = population.products(draws, _ids(at, self._plan.node))
        category = np.array([_CATEGORIES[c] for c in frame["category"].to_list()], np.int64)
        g = self.goods
        self.goods = Goods(
            np.concatenate([g.ids, frame["product_id"].to_numpy()]),
            np.concatenate([g.category, category]),
            np.concatenate([g.price, frame["price"].to_numpy()]),
            np.concatenate([g.season, seasons.of_names(frame["name"])]),
        )
        self.listed = np.concatenate([self.listed, at])
        self._catalogue = pl.concat([self._catalogue, frame])

    def products(self, begin: float, end: float) -> pl.DataFrame:
        """Return what was listed between two moments, `SCHEMAS["products"]`."""
        a, b = np.searchsorted(self.listed, [begin, end])
        return self._catalogue[a:b]


def _ids(at: Floats, node: int) -> Ints:
    return ids_at((at * 1000).astype(np.int64) - EPOCH_MS, node)
