"""Sign-ups and listings: the customers and products that are new in the shop now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from generators.behaviour import arrivals, population
from generators.live.publisher import LiveSource
from generators.random_streams import Floats, Ints
from shop.clock import Clock, utc_now
from shop.ids import EPOCH_MS, IdGenerator


class Population(NamedTuple):
    """How rows of a topic are made of uniform random numbers, and how many each takes."""

    make: Callable[[Floats, Ints], pl.DataFrame]
    draws: int


POPULATIONS: Final[Mapping[str, Population]] = {
    "users": Population(population.users, population.USER_DRAWS),
    "products": Population(population.products, population.PRODUCT_DRAWS),
}


class RegistrationSource(LiveSource):
    """Makes customers who sign up now, or products that are listed now.

    Args:
        topic: ``users`` or ``products``.
        rng: the stream of their properties.
        ids: their ids, which carry the time of registration.
        clock: UTC.
    """

    def __init__(
        self, topic: str, rng: np.random.Generator, ids: IdGenerator, *, clock: Clock = utc_now
    ) -> None:
        self.topic = topic
        self._population = POPULATIONS[topic]
        self._rng = rng
        self._ids = ids
        self._clock = clock

    def make(self, ago: Floats) -> pl.DataFrame:
        """Return those who registered `ago` seconds before now."""
        ms = arrivals.instants(self._clock(), ago) // 1_000 - EPOCH_MS
        uniform = self._rng.random((len(ago), self._population.draws))
        return self._population.make(uniform, self._ids.at(ms))
