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
AGES: Final = ((20, 10, 0.20), (30, 10, 0.29), (40, 10, 0.27), (50, 10, 0.17), (60, 20, 0.07))
"""(Youngest, width of the band in years, share): sales by age, Korean online malls, 2013."""
TOP_NAMES_SHARE: Final = 0.55
"""Of the people of a decade, how many have one of its 16 most frequent names; ours."""
NAME_RANK_OFFSET: Final = 6
"""The k-th most frequent name has weight 1 / (k + 6): rank 1 is three times rank 16; ours."""
MAIL_DOMAINS: Final = ("example.com", "example.net", "example.org")
"""Reserved for examples (RFC 2606): no mail can reach anybody."""

_MS_PER_YEAR: Final = 31_556_952_000  # Gregorian mean year
_KST_MS: Final = 9 * 3_600_000
_BASE36: Final = np.frombuffer(b"0123456789abcdefghijklmnopqrstuvwxyz", dtype=np.uint8)
_ID_DIGITS: Final = 11  # 36**11 > 2**53


@dataclass(frozen=True)
class _Choices:
    """Words with cumulative shares; `latin` is their spelling in e-mail addresses."""

    words: Words
    shares: Floats
    latin: Words


def _choices(words: Sequence[str], weights: Sequence[float], latin: Sequence[str]) -> _Choices:
    return _Choices(
        np.array(words, dtype=object), cumulative(weights), np.array(latin, dtype=object)
    )


@cache
def _surnames() -> _Choices:
    weights, latin = zip(*korean_people.SURNAMES.values(), strict=True)
    return _choices(list(korean_people.SURNAMES), weights, latin)


@cache
def _given_names(decade: int, gender: str) -> _Choices:
    """The most frequent names, then rarer ones made of the same decade's syllables."""
    top = korean_people.GIVEN_NAMES[decade, gender].split()
    made = (a[0] + b[1] for a in top for b in top if a[0] != b[1])
    rare = [name for name in dict.fromkeys(made) if name not in top]
    by_rank = np.array([1 / (NAME_RANK_OFFSET + k) for k in range(1, len(top) + 1)])
    weights = [*(by_rank / by_rank.sum() * TOP_NAMES_SHARE)]
    weights += [(1 - TOP_NAMES_SHARE) / len(rare)] * len(rare)
    names = top + rare
    return _choices(names, weights, [korean_people.romanise(n) for n in names])


@cache
def _cities() -> _Choices:
    names, weights = [], []
    for province, text in korean_people.CITIES.items():
        parts = text.split()
        for city, thousands in zip(parts[::2], parts[1::2], strict=True):
            names.append(f"{province} {city}")
            weights.append(float(thousands))
    return _choices(names, weights, names)


def cities() -> frozenset[str]:
    """Return every ``province city`` that a customer may live in."""
    return frozenset(_cities().words.tolist())


def times_of(ids: Ints) -> Ints:
    """Return the times that ids carry, in milliseconds since the Unix epoch.

    >>> times_of(np.array([5 << 12])).tolist() == [EPOCH_MS + 5]
    True
    """
    result: Ints = (ids >> (NODE_BITS + SEQUENCE_BITS)) + EPOCH_MS
    return result


def traits(u: Floats, ids: Ints) -> tuple[npt.NDArray[np.bool_], Ints, Words]:
    """Return of customers whether they are women, years of birth and cities; see `users`."""
    birth_year = _birth_years(u[:, 1], times_of(ids))
    return u[:, 0] < FEMALE_SHARE, birth_year, _cities().words[pick(u[:, 4], _cities().shares)]


def users(u: Floats, ids: Ints) -> pl.DataFrame:
    """Return customers, with the columns of `SCHEMAS["users"]`.

    Args:
        u: shape (n, USER_DRAWS), uniform in [0, 1).
        ids: shape (n,), user ids; they carry the times of sign-up.
    """
    female, birth_year, city = traits(u, ids)
    given, given_latin = _names(u[:, 2], female, birth_year)
    surname = pick(u[:, 3], _surnames().shares)
    domain = (u[:, 5] * len(MAIL_DOMAINS)).astype(np.int64)
    mail = (
        given_latin + "." + _surnames().latin[surname] + "."
        + _base36(ids) + "@" + np.array(MAIL_DOMAINS, dtype=object)[domain]
    )  # fmt: skip
    return pl.DataFrame(
        {
            "user_id": ids,
            "name": pl.Series(_surnames().words[surname] + given, dtype=pl.String),
            "email": pl.Series(mail, dtype=pl.String),
            "gender": pl.Series(np.where(female, "F", "M")),
            "birth_year": birth_year,
            "city": pl.Series(city, dtype=pl.String),
            "created_at": _instants(times_of(ids)),
        },
        schema=SCHEMAS["users"],
    )


def _birth_years(u: Floats, created_ms: Ints) -> Ints:
    """The one number chooses the age band and, by its place within the band, the age."""
    shares = cumulative([share for _, _, share in AGES])
    band = pick(u, shares)
    low = np.concatenate([[0.0], shares[:-1]])[band]
    within = (u - low) / (shares[band] - low)
    youngest = np.array([a for a, _, _ in AGES])[band]
    width = np.array([w for _, w, _ in AGES])[band]
    age = youngest + np.minimum((within * width).astype(np.int64), width - 1)
    year = (created_ms + _KST_MS) // _MS_PER_YEAR + 1970
    result: Ints = year - age
    return result


def _names(u: Floats, female: npt.NDArray[np.bool_], birth_year: Ints) -> tuple[Words, Words]:
    decades = sorted({decade for decade, _ in korean_people.GIVEN_NAMES})
    decade = np.clip(birth_year // 10 * 10, decades[0], decades[-1])
    words = np.empty(len(u), dtype=object)
    latin = np.empty(len(u), dtype=object)
    for each in np.unique(decade):
        for gender, mask in (("F", female), ("M", ~female)):
            rows = np.flatnonzero(mask & (decade == each))
            choices = _given_names(int(each), gender)
            chosen = pick(u[rows], choices.shares)
            words[rows], latin[rows] = choices.words[chosen], choices.latin[chosen]
    return words, latin


def _base36(ids: Ints) -> Words:
    """Spell ids in base 36: an address is then as unique as the id, and no longer than needed."""
    digits = np.empty((len(ids), _ID_DIGITS), dtype=np.uint8)
    rest = ids.copy()
    for column in range(_ID_DIGITS - 1, -1, -1):
        rest, digit = np.divmod(rest, 36)
        digits[:, column] = _BASE36[digit]
    text = digits.view(f"S{_ID_DIGITS}").ravel().astype(f"U{_ID_DIGITS}")
    stripped: Words = np.char.lstrip(text, "0").astype(object)
    return stripped


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
            "created_at": _instants(created_ms),
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
