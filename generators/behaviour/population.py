"""Customers and products, column by column, from uniform random numbers.

A row is a pure function of its own row of uniform numbers and of its id, which carries its time.
Numbers are drawn row by row, so the n-th customer of a stream is the same whether drawn alone or
as part of a million.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from generators.behaviour import catalogue, korean_people, prices, seasons
from generators.portable_math import exp
from generators.random_streams import Floats, Ints, cumulative, normal, pick
from shop.events import SCHEMAS
from shop.ids import EPOCH_MS, NODE_BITS, SEQUENCE_BITS

Words: TypeAlias = npt.NDArray[Any]

USER_DRAWS: Final = 6
"""Uniform numbers that one customer takes."""
PRODUCT_DRAWS: Final = 7
"""Uniform numbers that one product takes."""

FEMALE_SHARE: Final = 0.55
"""Women use online shopping more often, 57.1 % against 46.0 % of men (survey of 2014)."""
YOUNGEST: Final = 20
AGES: Final = (
    128, 147, 165, 181, 197, 212, 225, 238, 249, 258, 268, 276, 283, 288, 293, 296, 298, 300, 299,
    299, 296, 293, 289, 284, 277, 270, 262, 253, 243, 233, 221, 211, 200, 188, 176, 164, 152, 141,
    129, 118, 106, 94, 84, 74, 65, 57, 49, 41, 34, 28, 22, 17, 12, 8, 4, 1, 1, 1, 1, 1,
)  # fmt: skip
"""Of 10,000 customers, how many are `YOUNGEST`, a year older, and so on.

The decades have the shares of sales by age in Korean online malls (2013): .20, .29, .27, .17, and
.07 for sixty and more; within them, the smoothest curve with these sums, without steps."""
TOP_NAMES_SHARE: Final = 0.55
"""Of the people of a decade, how many have one of its 16 most frequent names; our estimate."""
NAME_RANK_OFFSET: Final = 6
"""The k-th most frequent name has weight 1 / (k + 6), rank 1 three times rank 16; our estimate."""
METRO: Final = ("서울", "인천", "경기")
"""Provinces of the capital area, as cities begin."""
MAIL_DOMAINS: Final = ("example.com", "example.net", "example.org")
"""Reserved for examples (RFC 2606): no mail can reach anybody."""

_MS_PER_YEAR: Final = 31_556_952_000  # Gregorian mean year
_KST_MS: Final = 9 * 3_600_000
_DECADES: Final = tuple(sorted({decade for decade, _ in korean_people.GIVEN_NAMES}))
_GROUPS: Final = tuple((decade, gender) for decade in _DECADES for gender in ("F", "M"))
_ID_DIGITS: Final = 11  # 36**11 > 2**53


@dataclass(frozen=True)
class _Choices:
    """Words with cumulative shares; `latin` is their spelling in e-mail addresses."""

    words: pl.Series
    shares: Floats
    latin: pl.Series


def _choices(words: Sequence[str], weights: Sequence[float], latin: Sequence[str]) -> _Choices:
    return _Choices(pl.Series(words), cumulative(weights), pl.Series(latin))


@cache
def _surnames() -> _Choices:
    weights, latin = zip(*korean_people.SURNAMES.values(), strict=True)
    return _choices(list(korean_people.SURNAMES), weights, latin)


@cache
def _given_names() -> _Choices:
    """The names of each decade and gender, one group after the other; shares count on from group.

    In each, the most frequent names, then rarer ones made of the same decade's syllables.
    """
    names: list[str] = []
    shares: list[Floats] = []
    for group, (decade, gender) in enumerate(_GROUPS):
        top = korean_people.GIVEN_NAMES[decade, gender].split()
        made = (a[0] + b[1] for a in top for b in top if a[0] != b[1])
        rare = [name for name in dict.fromkeys(made) if name not in top]
        by_rank = np.array([1 / (NAME_RANK_OFFSET + k) for k in range(1, len(top) + 1)])
        weights = [*(by_rank / by_rank.sum() * TOP_NAMES_SHARE)]
        weights += [(1 - TOP_NAMES_SHARE) / len(rare)] * len(rare)
        names += top + rare
        shares.append(group + cumulative(weights))
    latin = [korean_people.romanise(n) for n in names]
    return _Choices(pl.Series(names), np.concatenate(shares), pl.Series(latin))


@cache
def _cities() -> _Choices:
    names, weights = [], []
    for province, text in korean_people.CITIES.items():
        parts = text.split()
        for city, thousands in zip(parts[::2], parts[1::2], strict=True):
            names.append(f"{province} {city}")
            weights.append(float(thousands))
    return _choices(names, weights, names)


def weighted_cities() -> tuple[pl.Series, Floats]:
    """Return every ``province city``, and the share of the people who live there."""
    known = _cities()
    return known.words, np.diff(known.shares, prepend=0.0)


def given_names(women: npt.NDArray[np.bool_], birth_year: Ints, u: Floats) -> pl.Series:
    """Return a given name for each customer, of those that are usual for the year of birth."""
    return _given_names().words.gather(_given_name(women, birth_year, u))


def _given_name(women: npt.NDArray[np.bool_], birth_year: Ints, u: Floats) -> Ints:
    decade = np.clip(birth_year // 10, _DECADES[0] // 10, _DECADES[-1] // 10) - _DECADES[0] // 10
    return pick(decade * 2 + ~women + u, _given_names().shares)


def cities() -> frozenset[str]:
    """Return every ``province city`` that a customer may live in."""
    return frozenset(_cities().words)


def times_of(ids: Ints) -> Ints:
    """Return the times that ids carry, in milliseconds since the Unix epoch.

    >>> times_of(np.array([5 << 12])).tolist() == [EPOCH_MS + 5]
    True
    """
    result: Ints = (ids >> (NODE_BITS + SEQUENCE_BITS)) + EPOCH_MS
    return result


def traits(
    u: Floats, ids: Ints
) -> tuple[npt.NDArray[np.bool_], Ints, npt.NDArray[np.bool_], npt.NDArray[np.int8]]:
    """Return of customers whether they are women, years of birth, and where they live.

    The latter are whether it is METRO, and the place of the province in `korean_people.CITIES`.

    See `users`.
    """
    birth_year = _birth_years(u[:, 1], times_of(ids))
    city = pick(u[:, 4], _cities().shares)
    return u[:, 0] < FEMALE_SHARE, birth_year, _in_metro()[city], _province()[city]


@cache
def _in_metro() -> npt.NDArray[np.bool_]:
    return np.array([city.startswith(METRO) for city in _cities().words], np.bool_)


@cache
def _province() -> npt.NDArray[np.int8]:
    places = {name: place for place, name in enumerate(korean_people.CITIES)}
    return np.array([places[city.split()[0]] for city in _cities().words], np.int8)


def sign_ups(ids: Ints) -> pl.DataFrame:
    """Return customers without a profile: ids and times of sign-up."""
    return pl.DataFrame({"user_id": ids, "created_at": _instants(times_of(ids))})


def users(u: Floats, ids: Ints) -> pl.DataFrame:
    """Return customers, with the columns of `SCHEMAS["users"]`.

    Args:
        u: shape (n, USER_DRAWS), uniform in [0, 1).
        ids: shape (n,), user ids; they carry the times of sign-up.
    """
    female, birth_year, _, _ = traits(u, ids)
    given = _given_name(female, birth_year, u[:, 2])
    surname = pick(u[:, 3], _surnames().shares)
    domain = (u[:, 5] * len(MAIL_DOMAINS)).astype(np.int64)
    return pl.select(
        user_id=pl.Series(ids),
        name=pl.concat_str(
            _surnames().words.gather(surname), _given_names().words.gather(given)
        ),
        email=pl.concat_str(
            _given_names().latin.gather(given), pl.lit("."), _surnames().latin.gather(surname),
            pl.lit("."), _base36(ids), pl.lit("@"), pl.Series(MAIL_DOMAINS).gather(domain),
        ),
        gender=pl.Series(("M", "F")).gather(female.astype(np.int64)),
        birth_year=pl.Series(birth_year),
        city=_cities().words.gather(pick(u[:, 4], _cities().shares)),
        created_at=_instants(times_of(ids)),
    ).cast(pl.Schema(SCHEMAS["users"]))  # fmt: skip


def _birth_years(u: Floats, created_ms: Ints) -> Ints:
    year = (created_ms + _KST_MS) // _MS_PER_YEAR + 1970
    result: Ints = year - YOUNGEST - pick(u, _age_shares())
    return result


@cache
def _age_shares() -> Floats:
    return cumulative(AGES)


@cache
def _three_digits() -> pl.Series:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return pl.Series([a + b + c for a in digits for b in digits for c in digits])


def _base36(ids: Ints) -> pl.Expr:
    """Spell ids in base 36: an address is then as unique as the id, and no longer than needed."""
    parts, rest = [], ids
    for _ in range(-(-_ID_DIGITS // 3)):
        rest, part = np.divmod(rest, 36**3)
        parts.append(_three_digits().gather(part))
    return pl.concat_str(parts[::-1]).str.strip_chars_start("0")


def _instants(ms: Ints) -> pl.Series:
    series: pl.Series = pl.Series(ms * 1000, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
    return series


def products(u: Floats, ids: Ints) -> pl.DataFrame:
    """Return products, with the columns of `SCHEMAS["products"]`.

    Args:
        u: shape (n, PRODUCT_DRAWS), uniform in [0, 1).
        ids: shape (n,), product ids; they carry the times of listing.
    """
    created_ms = times_of(ids)
    months = seasons.month_of(created_ms) if len(ids) else np.empty(0, np.int64)
    category = pick(u[:, 0], cumulative([c.share for c in catalogue.CATEGORIES]))
    n = len(u)
    names, labels, brands = (np.empty(n, dtype=object) for _ in range(3))
    usual, level = np.empty(n), np.empty(n)
    for index in np.unique(category):
        kind = catalogue.CATEGORIES[index]
        rows = np.flatnonzero(category == index)
        labels[rows] = kind.label
        brand = (u[rows, 1] * len(kind.brands)).astype(np.int64)
        brands[rows] = _words(kind.brands)[brand]
        level[rows] = np.linspace(-1, 1, len(kind.brands))[brand]
        item = _items(u[rows, 3], kind, months[rows])
        usual[rows] = np.array([i.price for i in kind.items], np.float64)[item]
        quality = (u[rows, 2] * len(kind.qualities)).astype(np.int64)
        names[rows] = (
            brands[rows] + " " + _words(kind.qualities)[quality]
            + " " + _words([i.name for i in kind.items])[item]
        )  # fmt: skip
        if kind.coloured:
            colour = (u[rows, 4] * len(catalogue.COLOURS)).astype(np.int64)
            names[rows] += " " + _words(catalogue.COLOURS)[colour]
    factor = exp(catalogue.BRAND_LEVEL * level + catalogue.PRICE_SPREAD * normal(u[:, 5]))
    return pl.DataFrame(
        {
            "product_id": ids,
            "name": pl.Series(names, dtype=pl.String),
            "category": pl.Series(labels, dtype=pl.String),
            "brand": pl.Series(brands, dtype=pl.String),
            "price": prices.with_ending(usual * factor, u[:, 6]),
            "created_at": (created := _instants(created_ms)),
            "rev": np.ones(n, np.int64),
            "sale_status": pl.repeat("LISTED", n, dtype=pl.String, eager=True),
            "updated_at": created,
        },
        schema=SCHEMAS["products"],
    )


def _words(known: Sequence[str]) -> Words:
    return np.array(known, dtype=object)


def _items(u: Floats, kind: catalogue.Category, months: Ints) -> Ints:
    """Return the places of items: what sells in the coming weeks is listed more often."""
    chosen = np.empty(len(u), np.int64)
    for month in np.unique(months):
        weights = seasons.OF_MONTH[[seasons.index_of(i.season) for i in kind.items], month]
        rows = np.flatnonzero(months == month)
        chosen[rows] = pick(u[rows], cumulative(weights))
    return chosen
