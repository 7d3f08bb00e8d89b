"""What becomes of orders: cancelled within hours, refunded within days, or kept.

Some customers send back much more than others, for life; what was reduced comes back more often;
refunds are processed when people work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from generators.behaviour import catalogue
from generators.behaviour.order_events import Goods, categories_of
from generators.portable_math import exp
from generators.random_streams import Floats, Ints, cumulative, hashed, normal, pick
from generators.scenarios import korean_calendar
from generators.scenarios.timetable import NONE, ScenarioEffects

OUTCOME_DRAWS: Final = 3
"""Uniform numbers that decide what becomes of an order."""
HABITS: Final = ((0.45, 0.65), (1.3, 0.25), (3.5, 0.10))
"""(Factor on the odds that an order is sent back, share of customers): most keep what they buy, one
in ten sends back more than three times as much; our estimate."""
REDUCED: Final = 0.02
"""A percent of discount raises the odds of a refund by this: our estimate of impulse buying."""
CANCEL_AFTER_S: Final = (2_400.0, 1.1)
REFUND_AFTER_S: Final = (5.5 * 86_400.0, 0.45)
"""Median and log-sd of the delay: cancelled within hours, sent back within days; our estimate."""
OFFICE: Final = (9, 18)
"""Hours of a working day in Seoul at which refunds are processed."""
OTHER_REFUNDS: Final = 0.07
"""Of a product whose category is unknown."""

_REFUNDED: Final = np.array(
    [*(catalogue.REFUNDED[c.key] for c in catalogue.CATEGORIES), OTHER_REFUNDS]
)
_FACTORS: Final = np.array([factor for factor, _ in HABITS])
_HABIT_SHARES: Final = cumulative([share for _, share in HABITS])
_KST_S: Final = 9 * 3_600
_DAY_S: Final = 86_400
_HOUR_S: Final = 3_600


@dataclass(frozen=True)
class Outcome:
    """What becomes of orders: columns of equal length.

    Attributes:
        cancelled: whether they are cancelled.
        refunded: whether they are sent back.
        after_s: how long after the order, seconds; meaningless for the others.
    """

    cancelled: npt.NDArray[np.bool_]
    refunded: npt.NDArray[np.bool_]
    after_s: Floats


def outcome(
    u: Floats,
    orders: pl.DataFrame,
    sold: Goods,
    effects: ScenarioEffects = NONE,
    *,
    speed: float = 1.0,
) -> Outcome:
    """Return what becomes of orders.

    Args:
        u: shape (n, OUTCOME_DRAWS), uniform in [0, 1).
        orders: n rows with the columns of `SCHEMAS["orders"]`.
        sold: has all products of the orders.
        effects: of the moment of the orders.
        speed: of the shop; delays are divided by it. At any but 1 there are no office hours.
    """
    cancel = _times_odds(np.array(catalogue.CANCELLED), effects.cancel)
    category = categories_of(sold, orders["product_id"].to_numpy())
    cancelled = u[:, 0] < cancel
    # Two thirds of the orders would be kept even by the worst customer at the largest discount.
    most = _times_odds(_REFUNDED, effects.refund * _FACTORS.max() * _reduced(100.0))[category]
    maybe = np.flatnonzero(~cancelled & (u[:, 0] < cancel + (1 - cancel) * most))
    users, gross, off = (
        column.to_numpy()[maybe]
        for column in (
            orders["user_id"], orders["quantity"] * orders["unit_price"], orders["discount"],
        )
    )  # fmt: skip
    factor = effects.refund * habit(users) * _reduced(100.0 * off / np.maximum(gross, 1))
    refund = _times_odds(_REFUNDED[category[maybe]], factor)
    refunded = np.zeros(len(u), np.bool_)
    refunded[maybe] = u[maybe, 0] < cancel + (1 - cancel) * refund
    after = np.zeros(len(u))
    for which, (median, spread) in ((cancelled, CANCEL_AFTER_S), (refunded, REFUND_AFTER_S)):
        rows = np.flatnonzero(which)
        after[rows] = median / speed * exp(spread * normal(u[rows, 1]))
    if speed == 1:
        rows = np.flatnonzero(refunded)
        ordered = orders["ordered_at"].to_physical().to_numpy()[rows] / 1e6
        after[rows] = in_office_hours(ordered + after[rows], u[rows, 2]) - ordered
    return Outcome(cancelled, refunded, after)


def habit(user_ids: Ints) -> Floats:
    """Return customers' factors on the odds of a refund: a trait of each for life."""
    result: Floats = _FACTORS[pick(hashed(user_ids, "refunds"), _HABIT_SHARES)]
    return result


def _reduced(percent: Floats | float) -> Floats | float:
    """Return the factor of a discount on the odds of a refund."""
    return 1.0 + REDUCED * percent


def in_office_hours(at: Floats, u: Floats) -> Floats:
    """Return moments as they are within office hours, others within those that come next.

    Args:
        at: shape (n,), seconds since the Unix epoch.
        u: shape (n,), uniform in [0, 1): when within the hours.
    """
    local = at + _KST_S
    day = np.floor_divide(local, _DAY_S).astype(np.int64)
    second = local - day * _DAY_S
    opens, closes = (hour * _HOUR_S for hour in OFFICE)
    late = second >= closes
    wanted = korean_calendar.next_workday(day + late)
    open_now = (second >= opens) & ~late & (wanted == day)
    moved = wanted * _DAY_S + opens + u * (closes - opens) - _KST_S
    result: Floats = np.where(open_now, at, moved)
    return result


def _times_odds(p: npt.NDArray[Any], factor: float | Floats) -> npt.NDArray[Any]:
    """Multiply the odds of a probability.

    >>> float(_times_odds(np.array(0.5), 3.0))
    0.75
    """
    odds = p / (1 - p) * factor
    return np.asarray(odds / (1 + odds))
