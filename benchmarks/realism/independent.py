"""BG/NBD fitted by a library that knows nothing of this project: `lifetimes`."""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
import polars as pl

from benchmarks import bgnbd, shapes
from benchmarks.bgnbd import Cohort
from benchmarks.targets import Statistic
from generators.behaviour import customer_model

COHORT: Final = 100_000
HOLDOUT: Final = 13.0
"""Of the 39 weeks, those that the fit does not see."""


def without_a_shop(seed: int) -> list[Statistic]:
    """Return what the library finds in customers who buy whenever they are due."""
    return _fitted(bgnbd.cohort(COHORT, seed, holdout=HOLDOUT), "without a shop", ("a", "b"))


def of_a_shop(orders: pl.DataFrame) -> list[Statistic]:
    """Return what the library finds in the first cohort of a shop."""
    return _fitted(shapes.first_cohort(orders), "shop")


def _fitted(cohort: Cohort, whose: str, more: tuple[str, ...] = ()) -> list[Statistic]:
    """Fit the cohort; compare the parameters with the model's, the forecast with what came."""
    from lifetimes import BetaGeoFitter  # noqa: PLC0415  (pandas and matplotlib, for this alone)

    fitter = BetaGeoFitter()
    watched = cohort.x, cohort.t_x, cohort.age
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own: logarithms of 0
        fitter.fit(*watched)
        forecast = fitter.conditional_expected_number_of_purchases_up_to_time(
            cohort.ahead, *watched
        )
    given = {name: getattr(customer_model.MODEL, name) for name in ("r", "alpha", *more)}
    return [
        *(
            Statistic(
                f"BG/NBD {name} (lifetimes, {whose})", float(fitter.params_[name]),
                0.9 * value, 1.1 * value,
            )
            for name, value in given.items()
        ),
        Statistic(
            f"forecast against what came (lifetimes, {whose})",
            float(np.sum(forecast) / cohort.then.sum()), 0.9, 1.1,
        ),
    ]  # fmt: skip
