"""Grades from orders, against plain Python."""

from __future__ import annotations

from collections import defaultdict

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from grading import grades
from shop.grading_policy import POLICY, Grade, GradePolicy

_USERS = st.integers(1, 20)
_AMOUNTS = st.one_of(
    st.sampled_from([g.threshold + d for g in POLICY for d in (-1, 0, 1) if g.threshold + d >= 0]),
    st.integers(0, 3_000_000),
)
_ORDERS = st.lists(st.tuples(_USERS, _AMOUNTS), max_size=60)
_GRADES = st.sampled_from([*(g.name for g in POLICY), "PLATINUM"])
_CURRENT = st.dictionaries(_USERS, _GRADES, max_size=20)


@st.composite
def policies(draw: st.DrawFn) -> GradePolicy:
    thresholds = sorted(draw(st.sets(st.integers(1, 3_000_000), max_size=6)))
    return GradePolicy(tuple(Grade(f"G{i}", t) for i, t in enumerate([0, *thresholds])))


def _earned(spend: int, policy: GradePolicy) -> str:
    return [g.name for g in policy if spend >= g.threshold][-1]


def _frames(
    orders: list[tuple[int, int]], current: dict[int, str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    order_frame = pl.DataFrame(
        orders, schema={"user_id": pl.Int64, "amount": pl.Int64}, orient="row"
    )
    return pl.DataFrame(
        list(current.items()), schema=grades.CURRENT, orient="row"
    ), grades.cumulative(order_frame)


@given(_ORDERS, _CURRENT, st.one_of(st.just(POLICY), policies()))
def test_changes_are_those_of_plain_python(
    orders: list[tuple[int, int]], current: dict[int, str], policy: GradePolicy
) -> None:
    spent: dict[int, int] = defaultdict(int)
    for user, amount in orders:
        spent[user] += amount
    expected = sorted(
        (user, grade, _earned(spent[user], policy), spent[user])
        for user, grade in current.items()
        if grade != _earned(spent[user], policy)
    )
    current_frame, spend_frame = _frames(orders, current)
    changed = grades.changes(current_frame, spend_frame, policy)
    assert changed.rows() == expected
    assert changed.columns == ["user_id", "from_grade", "to_grade", "cumulative_spend"]
    assert grades.upgrades(changed, policy) == sum(
        policy.rank(to) > policy.rank(before) for _, before, to, _ in expected
    )


@given(_ORDERS, _CURRENT)
def test_a_second_time_nothing_changes(
    orders: list[tuple[int, int]], current: dict[int, str]
) -> None:
    current_frame, spend_frame = _frames(orders, current)
    changed = grades.changes(current_frame, spend_frame)
    moved = changed.select("user_id", grade="to_grade")
    after = current_frame.update(moved, on="user_id")
    assert grades.changes(after, spend_frame).is_empty()


@given(st.lists(_ORDERS, max_size=4))
def test_spend_adds_up_in_parts_as_at_once(parts: list[list[tuple[int, int]]]) -> None:
    frames = [_frames(part, {})[1] for part in parts]
    at_once = _frames([order for part in parts for order in part], {})[1]
    assert grades.total(frames).sort("user_id").equals(at_once.sort("user_id"))
