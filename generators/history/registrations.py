"""Sign-ups and listings: as many as a plan has over its days, then at the same pace.

What is beyond the plan's days is drawn from streams of its own, one for each day, at the mean rate
of the plan's days. So a history may go on for as long as it likes, and nobody who is in it changes.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from generators.behaviour import arrivals, catalogue, population, propensity, seasons
from generators.behaviour.order_events import Customers, Goods
from generators.history.plan import Plan
from generators.random_streams import Floats, Ints, normal, stream
from shop.ids import EPOCH_MS, ids_at

BLUR_S: Final = 20 * 86_400.0
"""Standard deviation by which the order of the newest sign-ups is blurred, seconds."""
BEFORE: Final = 0.4
"""Share of the customers, and of the products, that are there at the beginning; ours."""
_DAY_S: Final = 86_400.0
_CATEGORIES: Final = {c.label: i for i, c in enumerate(catalogue.CATEGORIES)}


class Registrations:
    """The customers and products of a plan, in the order of their times; seconds since 1970.

    Attributes:
        who: customers, for the choice of goods.
        created: when they signed up.
        metro: whether they live in the capital's region.
        freshness: `created`, blurred.
        goods: products.
        listed: when they were.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._start = plan.start.timestamp()
        self._span = plan.days * _DAY_S
        none = np.empty(0, np.int64)
        self.who = Customers(none, none, none)
        self.goods = Goods(none, none, none, none)
        self.created, self.freshness, self.listed = np.empty(0), np.empty(0), np.empty(0)
        self.metro = np.empty(0, np.bool_)
        self._draws = np.empty((0, population.USER_DRAWS))
        self._catalogue = population.products(np.empty((0, population.PRODUCT_DRAWS)), none)
        u = stream(plan.seed, "simulate/times")
        self._sign_up(self._over_the_plan(u.random(plan.users)), "")
        self._list(self._over_the_plan(u.random(plan.products)), "")

    def _over_the_plan(self, u: Floats) -> Floats:
        """Return moments: some in the two years before, the others as it continues."""
        late = (u - BEFORE) / (1 - BEFORE) * self._span
        early = (u / BEFORE - 1) * 2 * 365 * _DAY_S
        at: Floats = np.sort(self._start + np.where(u < BEFORE, early, late))
        return at

    def add(self, day: int) -> None:
        """Add those of a day beyond the plan's; each once, in order."""
        start = self._start + day * _DAY_S
        edges = np.array([start, start + _DAY_S])
        rng = stream(self._plan.seed, f"simulate/times/{day}")
        for total, take in (
            (self._plan.users, self._sign_up),
            (self._plan.products, self._list),
        ):
            rate = total * (1 - BEFORE) / self._span
            take(arrivals.poisson_times(edges, np.array([rate]), rng), f"/{day}")

    def _sign_up(self, at: Floats, suffix: str) -> None:
        ids, n = _ids(at, self._plan.node), len(at)
        seed = self._plan.seed
        draws = stream(seed, f"simulate/users{suffix}").random((n, population.USER_DRAWS))
        female, birth_year, city = population.traits(draws, ids)
        w = self.who
        self.who = Customers(
            np.concatenate([w.ids, ids]),
            np.concatenate([w.gender, (~female).astype(np.int64)]),
            np.concatenate([w.birth_year, birth_year]),
        )
        blur = stream(seed, f"simulate/blur{suffix}").random((n, 2))
        fresh = at + BLUR_S * normal(blur[:, 0])
        self.created = np.concatenate([self.created, at])
        self.freshness = np.concatenate([self.freshness, fresh])
        metro = pl.Series(city, dtype=pl.String).str.slice(0, 2).is_in(list(propensity.METRO))
        self.metro = np.concatenate([self.metro, metro.to_numpy()])
        self._draws = np.concatenate([self._draws, draws])

    def _list(self, at: Floats, suffix: str) -> None:
        rng = stream(self._plan.seed, f"simulate/products{suffix}")
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

    def users(self, begin: float, end: float) -> pl.DataFrame:
        """Return who signed up between two moments, `SCHEMAS["users"]`.

        Made when asked for: names and addresses of 400,000 take ten seconds.
        """
        a, b = np.searchsorted(self.created, [begin, end])
        return population.users(self._draws[a:b], self.who.ids[a:b])

    def products(self, begin: float, end: float) -> pl.DataFrame:
        """Return what was listed between two moments, `SCHEMAS["products"]`."""
        a, b = np.searchsorted(self.listed, [begin, end])
        return self._catalogue[a:b]


def longer(values: npt.NDArray[Any], n: int, fill: float) -> npt.NDArray[Any]:
    """Return values with as many of `fill` behind them as are wanting to n.

    >>> longer(np.array([1, 2]), 4, 0).tolist()
    [1, 2, 0, 0]
    """
    if len(values) == n:
        return values
    return np.concatenate([values, np.full(n - len(values), fill, values.dtype)])


def _ids(at: Floats, node: int) -> Ints:
    return ids_at((at * 1000).astype(np.int64) - EPOCH_MS, node)
