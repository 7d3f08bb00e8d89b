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
    product_changes,
    seasons,
)
from generators.behaviour.order_events import Goods
from generators.history.plan import DAY_S, Plan
from generators.random_streams import Floats, Ints, stream
from shop.events import SCHEMAS
from shop.ids import EPOCH_MS, ids_at

AT_OPENING: Final = 1_000
"""Products of a shop that opens, however large: as many as its shelf shows, so that each sells."""
BEFORE_OPENING_S: Final = 365 * DAY_S
"""They were listed within this time before, seconds; our estimate."""
_CATEGORIES: Final = {c.label: i for i, c in enumerate(catalogue.CATEGORIES)}


class HistoryListings:
    """The products of a history, in the order of their times; seconds since 1970.

    Attributes:
        goods: products, with the prices of the day.
        listed: when they were.
        on_sale: which are.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._start = plan.start.timestamp()
        none = np.empty(0, np.int64)
        self.goods = Goods(none, none, none, none)
        self.listed = np.empty(0)
        self.on_sale = np.empty(0, np.bool_)
        self._rev = self._next = none
        self._changes = pl.DataFrame(schema=SCHEMAS["products"])
        self._catalogue = population.products(np.empty((0, population.PRODUCT_DRAWS)), none)
        u = np.sort(stream(plan.seed, "simulate/stock").random(AT_OPENING))
        self._list(self._start + (u - 1) * BEFORE_OPENING_S, "opening", since=self._start)

    def add(self, day: int) -> None:
        """Change and add those of a day; each day once, in order."""
        start = self._start + day * DAY_S
        self._change(start)
        edges = demand_curves.grid(start, start + DAY_S)
        mean = (
            catalogue.LISTED_PER_DAY
            * self._plan.orders_per_day
            / customer_model.ORDERS_PER_DAY
            / DAY_S
        )
        rng = stream(self._plan.seed, f"simulate/listings/{day}")
        at = arrivals.poisson_times(edges, demand_curves.multiplier(edges[:-1]) * mean, rng)
        self._list(at, str(day))

    def _change(self, midnight: float) -> None:
        """Change the products whose next change is due, at the midnight that begins a day."""
        now = round(midnight * 1e6)
        which = np.flatnonzero(self.on_sale & (self._next <= now))
        ids, rev = self.goods.ids[which], self._rev[which]
        price, on_sale = product_changes.changed(ids, rev, self.goods.price[which])
        self.goods.price[which], self.on_sale[which], self._rev[which] = price, on_sale, rev + 1
        since = np.full(len(which), now)
        self._next[which] = product_changes.next_change(ids, rev + 1, since)
        status = np.where(on_sale, product_changes.LISTED, product_changes.DELISTED)
        self._changes = self._catalogue[which].with_columns(
            rev=pl.Series(rev + 1),
            price=pl.Series(price),
            sale_status=pl.Series(status.tolist(), dtype=pl.String),
            updated_at=pl.Series(since).cast(pl.Datetime("us", "UTC")),
        )

    def _list(self, at: Floats, name: str, since: float | None = None) -> None:
        rng = stream(self._plan.seed, f"simulate/products/{name}")
        draws = rng.random((len(at), population.PRODUCT_DRAWS))
        frame = population.products(draws, _ids(at, self._plan.node))
        if since is not None:
            opened = pl.Series([round(since * 1e6)]).cast(pl.Datetime("us", "UTC"))
            frame = frame.with_columns(updated_at=opened.new_from_index(0, len(frame)))
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
        self.on_sale = np.concatenate([self.on_sale, np.ones(len(at), np.bool_)])
        rev = np.ones(len(at), np.int64)
        self._rev = np.concatenate([self._rev, rev])
        changes = product_changes.next_change(
            frame["product_id"].to_numpy(), rev, frame["updated_at"].cast(pl.Int64).to_numpy()
        )
        self._next = np.concatenate([self._next, changes])

    def events(self, begin: float, end: float) -> pl.DataFrame:
        """Return a day's changes, and what was listed between two moments: `SCHEMAS["products"]`.

        Changes have the revisions from 2 on; they are of the last day that was added.
        """
        a, b = np.searchsorted(self.listed, [begin, end])
        return pl.concat([self._changes, self._catalogue[a:b]])


def _ids(at: Floats, node: int) -> Ints:
    return ids_at((at * 1000).astype(np.int64) - EPOCH_MS, node)
