"""How customers change: they move, change their name or their consent, or close their account.

All of it is a function of the seed, the customer and the time: live processes and a history
compute the same changes, and a process that publishes one again publishes an exact copy. Changes
come by the calendar, at any speed of the shop. Nothing here changes what anybody buys: an account
is closed only by customers who buy no more, as the customer model has it.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any, Final

import numpy as np
import polars as pl

from generators.behaviour import customer_model, population
from generators.behaviour.customer_model import NEVER, uniform
from generators.random_streams import Floats, Ints, exponential, pick
from generators.scenarios import timetable
from shop.clock import KST
from shop.events import SCHEMAS

TOPIC: Final = "customer_changes"
MOVES: Final = 0.123
"""Moves a year and customer: the rate of internal migration in Korea in 2024 (Statistics Korea:
12.3 %, 12.0 % in 2023). That each mover tells the shop is our simplification."""
WITHIN_PROVINCE: Final = 0.65
"""Share of the moves that stay in the province (Statistics Korea, 2023: 65 %)."""
RENAMES: Final = 0.0025
"""New given names a year and customer: more than 100,000 petitions a year in a country of 51
million, by newspapers."""
CONSENT_CHANGES: Final = 0.1
"""Changes of the consent a year and customer; our estimate."""
CONSENTED: Final = 0.45
"""Share of the customers who consent to marketing when they sign up; our estimate."""
CLOSES: Final = 0.12
"""Share of the customers who buy no more that close their account, unless a win-back of the next
years brings them back; our estimate."""
LEAST_DAYS: Final = 60
"""Days after the last order, or the sign-up, before which nobody closes an account: what becomes of
the order is known by then."""
MEAN_DAYS: Final = 240
"""Mean days from then to the closing; our estimate."""
NO_MORE_YEARS: Final = 10
"""For how long after the closing no scheduled win-back may bring the customer back."""

_KINDS: Final = ("MOVED", "RENAMED", "CONSENT")
_RATES: Final = np.array([MOVES, RENAMES, CONSENT_CHANGES])
_DAY_US: Final = 86_400_000_000
_YEAR_US: Final = 365 * _DAY_US
_KST_US: Final = 9 * 3_600_000_000
_TIME: Final = pl.Datetime("us", "UTC")
STATE: Final[dict[str, Any]] = {
    "user_id": pl.Int64, "rev": pl.Int64, "name": pl.String, "gender": pl.String,
    "birth_year": pl.Int64, "city": pl.String, "marketing_consent": pl.String, "at": pl.Int64,
}  # fmt: skip
"""Customers as they are after change `rev`, and the moment of the next change: microseconds."""


def begin(seed: int, users: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the sign-ups of customers, `SCHEMAS["customer_changes"]`, and their `STATE`.

    Args:
        seed: of the shop.
        users: rows of `SCHEMAS["users"]`.
    """
    ids = _ints(users, "user_id")
    consents = uniform(seed, "change consent", ids) < CONSENTED
    created: Ints = users["created_at"].cast(pl.Int64).to_numpy()
    state = users.select(
        "user_id", "name", "gender", "birth_year", "city",
        rev=pl.lit(1, pl.Int64),
        marketing_consent=pl.when(pl.Series(consents)).then(pl.lit("GRANTED"))
        .otherwise(pl.lit("WITHDRAWN")),
        at=pl.Series(created),
    ).select(*STATE)  # fmt: skip
    events = _events(state.with_columns(kind=pl.lit("SIGNED_UP")))
    return events, state.with_columns(at=pl.Series(_next(seed, state)))


def advance(seed: int, state: pl.DataFrame, until_us: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return what changes before a moment, and the customers as they are then.

    Args:
        seed: of the shop.
        state: rows of `STATE`.
        until_us: microseconds since the Unix epoch.
    """
    found = [_events(state.clear().with_columns(kind=pl.lit("")))]
    settled = []
    while len(state):
        is_due = pl.col("at") < until_us
        settled.append(state.filter(~is_due))
        state = _changed(seed, state.filter(is_due))
        found.append(_events(state))
        state = state.drop("kind")
        state = state.with_columns(at=pl.Series(_next(seed, state), dtype=pl.Int64))
    return pl.concat(found), pl.concat([*settled, state])


def _next(seed: int, state: pl.DataFrame) -> Ints:
    gap = exponential(uniform(seed, "change gap", _ints(state, "user_id"), _ints(state, "rev")))
    result: Ints = _ints(state, "at") + 1 + (gap * (_YEAR_US / _RATES.sum())).astype(np.int64)
    return result


def _changed(seed: int, state: pl.DataFrame) -> pl.DataFrame:
    """Return customers after their next change, with its kind."""
    ids, rev = _ints(state, "user_id"), _ints(state, "rev")
    kind = pick(uniform(seed, "change kind", ids, rev), np.cumsum(_RATES) / _RATES.sum())
    kinds = pl.Series(_KINDS).gather(pl.Series(np.minimum(kind, len(_KINDS) - 1)))
    women = (state["gender"] == "F").fill_null(value=False).to_numpy()
    given = population.given_names(
        women, _ints(state, "birth_year"), uniform(seed, "change name", ids, rev)
    )
    surname = pl.when(pl.col("name").str.len_chars() > len("김") + 1).then(
        pl.col("name").str.head(-2)
    ).otherwise(pl.col("name").str.head(1))  # fmt: skip
    withdrawn = pl.col("marketing_consent") == "GRANTED"
    return state.with_columns(kind=kinds).with_columns(
        rev=pl.col("rev") + 1,
        name=pl.when(kind="RENAMED").then(surname + pl.lit(given)).otherwise("name"),
        city=pl.when(kind="MOVED")
        .then(pl.lit(_new_city(state["city"], uniform(seed, "change city", ids, rev))))
        .otherwise("city"),
        marketing_consent=pl.when(pl.col("kind") != "CONSENT").then("marketing_consent")
        .when(withdrawn).then(pl.lit("WITHDRAWN")).otherwise(pl.lit("GRANTED")),
    )  # fmt: skip


@cache
def _destinations() -> tuple[pl.Series, Floats]:
    """Return the cities, and where the people of each go: cumulative shares, a row after another.

    The last row is for people of a city that is not among them.
    """
    words, weights = population.weighted_cities()
    province = np.array([city.split()[0] for city in words])
    rows = []
    for place in range(len(words)):
        near = province == province[place]
        near[place] = False
        far = province != province[place]
        share = WITHIN_PROVINCE if near.any() else 0.0
        row: Floats = np.where(far, weights * (1 - share) / weights[far].sum(), 0.0)
        if near.any():
            row[near] = weights[near] * share / weights[near].sum()
        rows.append(np.cumsum(row))
    rows.append(np.cumsum(weights / weights.sum()))
    table = np.array(rows)
    table[:, -1] = 1.0
    shares: Floats = (table + np.arange(len(table))[:, None]).ravel()
    return words, shares


def _new_city(cities: pl.Series, u: Floats) -> pl.Series:
    words, shares = _destinations()
    places = cities.replace_strict(
        words, np.arange(len(words)), default=len(words), return_dtype=pl.Int64
    ).to_numpy()  # fmt: skip
    found = np.searchsorted(shares, places + u, side="right") - places * len(words)
    return words.gather(pl.Series(np.minimum(found, len(words) - 1)))


def _events(state: pl.DataFrame) -> pl.DataFrame:
    ids = change_ids(_ints(state, "user_id"), _ints(state, "rev"))
    return state.select(
        "user_id", "rev", "kind", "name", "city", "marketing_consent",
        change_id=pl.Series(ids),
        updated_at=pl.col("at").cast(_TIME),
    ).select(*SCHEMAS[TOPIC])  # fmt: skip


def change_ids(user_ids: Ints, rev: Ints) -> Ints:
    """Return an id for each change, by the customer and the number of the change.

    Two of a million are the same with a probability of 6 in 100,000, and then the second is a dead
    letter.
    """
    u = uniform(0, "change id", user_ids, rev)
    return np.maximum((u * 2.0**53).astype(np.int64), 1)


def closings(seed: int, user_ids: Ints, orders: Ints, since_us: Ints) -> Ints:
    """Return when customers who buy no more close their accounts; `NEVER` for the others.

    Args:
        seed: of the shop.
        user_ids: shape (n,), customers who are never due again.
        orders: of each; 0 for those who have never bought.
        since_us: shape (n,), the last order, or the sign-up: microseconds since the Unix epoch.
    """
    found = np.full(len(user_ids), NEVER, np.int64)
    some = np.flatnonzero(uniform(seed, "change closes", user_ids, orders) < CLOSES)
    if not len(some):
        return found
    ids, since = user_ids[some], since_us[some]
    days = exponential(uniform(seed, "change closing", ids, orders[some])) * MEAN_DAYS
    at = since + ((LEAST_DAYS + days) * _DAY_US).astype(np.int64)
    found[some] = np.where(_comes_back(seed, ids, since, at), NEVER, at)
    return found


def _comes_back(seed: int, ids: Ints, since_us: Ints, at_us: Ints) -> Any:
    """Return which customers a scheduled win-back brings back before the closing or later."""
    first, last = (since_us + _KST_US) // _DAY_US, (at_us + _KST_US) // _DAY_US
    last = last + NO_MORE_YEARS * 365
    back = np.zeros(len(ids), np.bool_)
    for day in win_back_days(seed, _year(int(first.min())), _year(int(last.max()))):
        back |= (first <= day) & (day <= last) & customer_model.comes_back(seed, ids, day)
    return back


def _year(day: int) -> int:
    return int(np.datetime64(day, "D").astype("datetime64[Y]").astype(np.int64)) + 1970


def win_back_days(seed: int, first_year: int, last_year: int) -> tuple[int, ...]:
    """Return the days of scheduled win-backs, in Seoul, from 1970-01-01."""
    years = range(first_year - 1, last_year + 1)
    return tuple(sorted(set().union(*(_win_back_days(seed, number) for number in years))))


@cache
def _win_back_days(seed: int, number: int) -> frozenset[int]:
    spans = [span for span in timetable.year(seed, number) if span.name == "win_back"]
    return frozenset(day for span in spans for day in range(_day(span.start), _day(span.end) + 1))


def _day(at: float) -> int:
    local = datetime.fromtimestamp(at, KST)
    return (local.date() - datetime(1970, 1, 1).date()).days  # noqa: DTZ001  (a date alone)


def closed(user_ids: Ints, rev: Ints, at_us: Ints) -> pl.DataFrame:
    """Return the events of closed accounts, `SCHEMAS["customer_changes"]`.

    Args:
        user_ids: shape (n,).
        rev: shape (n,), the number of each customer's last change, which this is.
        at_us: shape (n,), microseconds since the Unix epoch.
    """
    nothing = pl.lit(None, pl.String)
    return pl.select(
        change_id=pl.Series(change_ids(user_ids, rev)), user_id=pl.Series(user_ids),
        rev=pl.Series(rev), kind=pl.lit("CLOSED"), name=nothing, city=nothing,
        marketing_consent=nothing, updated_at=pl.Series(at_us).cast(_TIME),
    ).select(*SCHEMAS[TOPIC])  # fmt: skip


def _ints(frame: pl.DataFrame, name: str) -> Ints:
    return frame[name].fill_null(0).to_numpy().astype(np.int64)
