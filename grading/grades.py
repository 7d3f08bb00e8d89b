"""From orders to grades, in polars; pure functions, one row a customer."""

from __future__ import annotations

from typing import Final

import polars as pl

from shop.grading_policy import POLICY, GradePolicy

SPEND: Final = {"user_id": pl.Int64(), "cumulative_spend": pl.Int64()}
"""Schema of a spend frame: KRW, at most one row a customer."""
CURRENT: Final = {"user_id": pl.Int64(), "grade": pl.String()}
"""Schema of a frame of current grades: one row a customer."""


def grade_of(spend: pl.Expr, policy: GradePolicy = POLICY) -> pl.Expr:
    """Return the grade names that cumulative spends earn.

    Args:
        spend: KRW, without nulls; a negative one earns the lowest grade.
        policy: the grades.

    >>> spends = pl.DataFrame({"spend": [0, 99_999, 100_000, 5_000_000]})
    >>> spends.select(grade_of(pl.col("spend")))["spend"].to_list()
    ['BRONZE', 'BRONZE', 'SILVER', 'VVIP']
    """
    names = pl.lit(policy.lowest)
    for grade in policy.grades[1:]:
        names = pl.when(spend >= grade.threshold).then(pl.lit(grade.name)).otherwise(names)
    return names.alias(spend.meta.output_name())


def cumulative(orders: pl.DataFrame) -> pl.DataFrame:
    """Add up spend per customer.

    Args:
        orders: `user_id` and `amount` (KRW) of the orders that count.

    Returns:
        A spend frame.

    >>> cumulative(pl.DataFrame({"user_id": [7, 7], "amount": [10, 5]})).rows()
    [(7, 15)]
    """
    totals = orders.group_by("user_id").agg(pl.col("amount").sum().alias("cumulative_spend"))
    return totals.cast(pl.Schema(SPEND))


def total(spends: list[pl.DataFrame]) -> pl.DataFrame:
    """Add up the spend frames of parts of the orders.

    >>> total([]).schema == pl.Schema(SPEND)
    True
    """
    parts = pl.concat([pl.DataFrame(schema=SPEND), *spends])
    return cumulative(parts.rename({"cumulative_spend": "amount"}))


def changes(
    current: pl.DataFrame, spend: pl.DataFrame, policy: GradePolicy = POLICY
) -> pl.DataFrame:
    """Return the customers whose grade has to change, by `user_id`: the order in which rows lock.

    Args:
        current: current grades.
        spend: spend frame; a customer who is not in it spent nothing.
        policy: the grades.

    Returns:
        `user_id`, `from_grade`, `to_grade`, `cumulative_spend`.

    >>> now = pl.DataFrame({"user_id": [1, 2], "grade": ["GOLD", "BRONZE"]})
    >>> changes(now, pl.DataFrame({"user_id": [2], "cumulative_spend": [400_000]})).rows()
    [(1, 'GOLD', 'BRONZE', 0), (2, 'BRONZE', 'GOLD', 400000)]
    """
    spent = pl.col("cumulative_spend").fill_null(0)
    return (
        current.join(spend, on="user_id", how="left")
        .select("user_id", "grade", grade_of(spent, policy).alias("to_grade"), spent)
        .rename({"grade": "from_grade"})
        .filter(pl.col("from_grade") != pl.col("to_grade"))
        .sort("user_id")
    )


def upgrades(changed_frame: pl.DataFrame, policy: GradePolicy = POLICY) -> int:
    """Count those who rise; a grade of some earlier policy counts as below all others.

    >>> frame = pl.DataFrame({"from_grade": ["GOLD", "SILVER"], "to_grade": ["SILVER", "VIP"]})
    >>> upgrades(frame)
    1
    """
    before, after = (
        pl.col(name).replace_strict(policy.ranks, default=-1, return_dtype=pl.Int64)
        for name in ("from_grade", "to_grade")
    )
    return changed_frame.filter(after > before).height
