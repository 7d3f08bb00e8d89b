"""What customers look at: visits that end with an order, and the visits of those who only look.

A pure function of the seed and of ids. Every visit hangs on an *anchor*: an order, or the sign-up
of a customer. An order has the visit that placed it, and visits of the same customer in the four
weeks that follow; a sign-up has the visit in which the customer signed up, and a few more. All
draws are hashes of the ids of visits and views, which follow from the id of the anchor, so live
processes and the history make the same views, each time they are made and in any batches.

With 30 views an order, as the shop has them, one visit in twelve ends with an order. That is three
times the 2 to 4 % that shops publish, which count everybody; here all visitors are customers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from generators.behaviour.visits.view_ids import (
    AFTER_ORDER,
    AFTER_SIGN_UP,
    LAGS,
    MOST_VIEWS,
    NO_ID,
    SIGN_UP,
    SPREAD_S,
    Anchors,
    Pool,
    is_tracked,
    lag_start_s,
    session_ids,
)
from generators.behaviour.visits.visit_shares import (
    BOUNCES,
    BROWSING,
    BUYING,
    DWELL_S,
    LANDING,
    LONGEST_S,
    LOOKING,
    MOBILE_HABITS,
    MORE_VIEWS,
    NEW_RETURNS,
    OWN_PRODUCT,
    REFERRERS,
    RETURNS,
    SHORTEST_S,
    SIGNING_UP,
    TABLETS,
    TO_BASKET,
    TO_CHECKOUT,
    TRACKED,
)
from generators.portable_math import exp
from generators.random_streams import Floats, Ints, cumulative, exponential, hashed, normal, pick
from shop.events import SCHEMAS
from shop.ids import EPOCH_MS, IDS_PER_MS
from shop.optional.page_views import CHANNELS, DEVICES, PAGES

LONGEST_VISIT_S: Final = 15 * LONGEST_S

_US: Final = 1_000_000


@dataclass(frozen=True)
class _Visits:
    """Visits: columns of equal length.

    `last` are the pages that they end with, places in `PAGES`, from the right; -1 for none.
    """

    session: Ints
    user: Ints
    bought: Ints
    order: Ints
    channel: Ints
    views: Ints
    last: npt.NDArray[np.int64]
    at_us: Ints
    backwards: bool


class PageViews:
    """Makes the views of a shop.

    Args:
        seed: of the shop.
        speed: of the shop; all times between views are divided by it.
    """

    def __init__(self, seed: int, speed: float = 1.0) -> None:
        self._seed = seed
        self._speed = speed

    def _draw(self, ids: Ints, what: str) -> Floats:
        return hashed(ids, f"{self._seed}/views.{what}")

    def of_orders(self, orders: Anchors, pool: Pool) -> pl.DataFrame:
        """Return the views that lead to orders; the last one of each visit is at `at_us`.

        Args:
            orders: in any order.
            pool: orders before.

        Returns:
            `SCHEMAS["page_views"]`, visit by visit.
        """
        orders = orders.take(is_tracked(orders.ids))
        orders = orders.take(self._draw(session_ids(orders.ids, 0), "tracked") < TRACKED)
        session = session_ids(orders.ids, 0)
        n = len(session)
        visits = _Visits(
            session, orders.users, orders.products, orders.ids,
            pick(self._draw(session, "channel"), cumulative(BUYING)),
            self._lengths(session, 4, "buying"), _ends(n, "PRODUCT", "BASKET", "CHECKOUT"),
            orders.at_us, backwards=True,
        )  # fmt: skip
        return self._views(visits, orders.ids, pool)

    def of_sign_ups(self, users: Anchors, pool: Pool) -> pl.DataFrame:
        """Return the views of the visits in which customers sign up; the last one is the sign-up.

        See `of_orders`.
        """
        users = users.take(is_tracked(users.ids))
        session = session_ids(users.ids, SIGN_UP)
        visits = _Visits(
            session, users.users, users.products, np.zeros(len(session), np.int64),
            pick(self._draw(session, "channel"), cumulative(SIGNING_UP)),
            self._lengths(session, 2, "signing_up"), _ends(len(session), "SIGN_UP"),
            users.at_us, backwards=True,
        )  # fmt: skip
        return self._views(visits, users.ids, pool)

    def after(
        self, anchors: Anchors, pool: Pool, *, sign_ups: bool, lag: int | None = None
    ) -> pl.DataFrame:
        """Return the views of the visits that follow orders or sign-ups and buy nothing.

        Args:
            anchors: their times are those that the ids carry.
            pool: orders before.
            sign_ups: whether the anchors are sign-ups.
            lag: day of the visits after the anchors; None for all.

        Returns:
            `SCHEMAS["page_views"]`, visit by visit.
        """
        anchors = anchors.take(is_tracked(anchors.ids))
        parts = [pl.DataFrame(schema=SCHEMAS["page_views"])]
        if sign_ups:
            chance = np.full(len(anchors.ids), NEW_RETURNS)
        else:
            kind = pick(self._draw(anchors.users, "returns"), cumulative([s for _, s in RETURNS]))
            chance = np.array([c for c, _ in RETURNS])[kind]
        for slot, (first, last) in (AFTER_SIGN_UP if sign_ups else AFTER_ORDER).items():
            if lag is not None and not first <= lag <= last:
                continue
            session = session_ids(anchors.ids, slot)
            days = last + 1 - first
            day = first + (days * self._draw(session, "day")).astype(np.int64)
            there = self._draw(session, "there") < chance
            if lag is not None:
                there &= day == lag
            if there.any():
                parts.append(self._looking(anchors.take(there), session[there], day[there], pool))
        return pl.concat(parts)

    def _looking(self, anchors: Anchors, session: Ints, day: Ints, pool: Pool) -> pl.DataFrame:
        u = self._draw(session, "ends")
        start = np.array([lag_start_s(lag) for lag in range(LAGS)])[day]
        start = (start + SPREAD_S * self._draw(session, "starts")) / self._speed
        n = len(session)
        basket, checkout, bounces = u < TO_BASKET, u < TO_CHECKOUT, u >= 1 - BOUNCES
        last = np.where(basket[:, None], _ends(n, "PRODUCT", "BASKET"), -1)
        last = np.where(checkout[:, None], _ends(n, "PRODUCT", "BASKET", "CHECKOUT"), last)
        views = self._lengths(session, 2, "looking")
        views = np.minimum(views + basket + checkout, MOST_VIEWS)
        visits = _Visits(
            session, anchors.users, anchors.products, np.zeros(n, np.int64),
            pick(self._draw(session, "channel"), cumulative(LOOKING)),
            np.where(bounces, 1, views), last,
            (anchors.ids // IDS_PER_MS + EPOCH_MS) * 1_000 + (start * _US).astype(np.int64),
            backwards=False,
        )  # fmt: skip
        return self._views(visits, anchors.ids, pool)

    def _lengths(self, session: Ints, least: int, kind: str) -> Ints:
        more = MORE_VIEWS[kind] * exponential(self._draw(session, "length"))
        return np.minimum(least + more.astype(np.int64), MOST_VIEWS)

    def _views(self, visits: _Visits, anchors: Ints, pool: Pool) -> pl.DataFrame:
        """Return the views of visits."""
        of = np.repeat(np.arange(len(visits.session)), visits.views)
        first = np.cumsum(visits.views) - visits.views
        number = np.arange(len(of)) - first[of]
        ids = visits.session[of] + number
        page = self._pages(visits, of, number, ids)
        shown = pool.products_of(anchors[of], self._draw(ids, "product"), self._speed)
        before_last = visits.views[of] - 1 - number
        own = (visits.bought[of] > 0) & (
            ((visits.order[of] > 0) & (before_last == 2))
            | (self._draw(ids, "own") < OWN_PRODUCT)
            | (shown == NO_ID)
        )
        product = np.where(
            page == PAGES.index("PRODUCT"), np.where(own, visits.bought[of], shown), 0
        )
        # A shop without orders shows no product yet.
        page = np.where(
            (page == PAGES.index("PRODUCT")) & (product == NO_ID), PAGES.index("CATEGORY"), page
        )
        order = np.where(before_last == 0, visits.order[of], NO_ID)
        return pl.DataFrame(
            {
                "view_id": ids,
                "session_id": visits.session[of],
                "user_id": visits.user[of],
                "page": _texts(PAGES, page),
                "product_id": _ids_or_null(product),
                "order_id": _ids_or_null(order),
                "channel": _texts(CHANNELS, visits.channel[of]),
                "device": _texts(DEVICES, self._devices(visits)[of]),
                "referrer": self._referrers(visits, of, number),
                "viewed_at": pl.Series(self._times(visits, of, first, ids)).cast(
                    pl.Datetime("us", "UTC")
                ),
            },
            schema=SCHEMAS["page_views"],
        )

    def _pages(self, visits: _Visits, of: Ints, number: Ints, ids: Ints) -> Ints:
        """Return places in `PAGES`: the first page by channel, then others, then the end."""
        u = self._draw(ids, "page")
        page = _picked(u, BROWSING)
        for place, channel in enumerate(CHANNELS):
            rows = np.flatnonzero((number == 0) & (visits.channel[of] == place))
            page[rows] = _picked(u[rows], LANDING[channel])
        before_last = visits.views[of] - 1 - number
        for back in range(visits.last.shape[1]):
            end = visits.last[of, back]
            page = np.where((before_last == back) & (end >= 0), end, page)
        return page

    def _times(self, visits: _Visits, of: Ints, first: Ints, ids: Ints) -> Ints:
        """Return when each page is opened, microseconds since 1970."""
        median, spread = DWELL_S
        seconds = median * exp(spread * normal(self._draw(ids, "dwell")))
        dwell = (np.clip(seconds, SHORTEST_S, LONGEST_S) / self._speed * _US).astype(np.int64)
        passed = np.cumsum(dwell) - dwell  # before each view, from the first visit on
        since = passed - passed[first][of]
        at: Ints = visits.at_us[of] + since
        if visits.backwards:
            last = first + visits.views - 1
            at -= (passed[last] - passed[first])[of]
        return at

    def _devices(self, visits: _Visits) -> Ints:
        kind = pick(self._draw(visits.user, "habit"), cumulative([s for _, s in MOBILE_HABITS]))
        mobile = np.array([p for p, _ in MOBILE_HABITS])[kind]
        u = self._draw(visits.session, "device")
        device: Ints = np.where(u < mobile, 0, np.where(u < 1 - (1 - mobile) * TABLETS, 1, 2))
        return device

    def _referrers(self, visits: _Visits, of: Ints, number: Ints) -> pl.Series:
        u = self._draw(visits.session, "referrer")
        names: list[str | None] = [None]
        code = np.zeros(len(visits.session), np.int64)
        for channel, known in REFERRERS.items():
            rows = np.flatnonzero(visits.channel == CHANNELS.index(channel))
            shares = cumulative([0.5**place for place in range(len(known))])
            code[rows] = len(names) + pick(u[rows], shares)
            names += known
        return pl.Series(names, dtype=pl.String).gather(np.where(number == 0, code[of], 0))


def _ends(n: int, *pages: str) -> npt.NDArray[np.int64]:
    """Return the pages that n visits end with, from the last one back; -1 fills three columns."""
    codes = [PAGES.index(page) for page in reversed(pages)]
    return np.tile(np.array(codes + [-1] * (3 - len(codes)), np.int64), (n, 1))


def _picked(u: Floats, shares: Sequence[tuple[str, float]]) -> Ints:
    places = np.array([PAGES.index(page) for page, _ in shares], np.int64)
    result: Ints = places[pick(u, cumulative([share for _, share in shares]))]
    return result


def _texts(known: Sequence[str], places: Ints) -> pl.Series:
    return pl.Series(known, dtype=pl.String).gather(places)


def _ids_or_null(ids: Ints) -> pl.Series:
    series = pl.Series(ids, dtype=pl.Int64)
    return series.set(series == NO_ID, None)
