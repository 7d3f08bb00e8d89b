"""How the parcel of an order travels: dispatched, in transit, delivered, returned or lost.

A pure function of the seed, the order and its fate. The fate, a cancellation or a refund with its
time, is given: orders had it before there were parcels, and what is refunded must have come back or
be lost before. So parcels of refunded orders are drawn backwards, between the order and the refund.

Warehouses work on working days, carriers deliver on all days but Sundays and public holidays. In a
shop of another speed than 1 all delays are divided by it, and there is no calendar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
import polars as pl

from generators.behaviour import korean_people
from generators.portable_math import exp
from generators.random_streams import Floats, Ints, cumulative, hashed, normal, pick
from generators.scenarios import korean_calendar
from shop.events import SCHEMAS
from shop.optional.shipments import CARRIERS, REGIONS

REGION_OF: Final[Mapping[str, str]] = dict(zip(korean_people.CITIES, REGIONS, strict=True))
"""Province, as cities begin -> region."""
UNKNOWN: Final = -1
"""Of a customer whose city is not known."""
CUT_OFF_H: Final = 14.0
"""Orders of a working day before this hour in Seoul leave on the same day; our estimate."""
LEAVES_H: Final = (16.0, 20.5)
"""Hours at which carriers fetch the parcels of a day; our estimate."""
SORTED_H: Final = (3.0, 9.0)
"""Hours from dispatch until a parcel leaves the sorting centre; our estimate."""
ARRIVES_H: Final = (10.0, 21.0)
"""Hours of the day at which parcels are delivered, most of them in the middle; our estimate."""
SLOWER: Final[Mapping[str, float]] = {"metro": 0.08, "other": 0.18}
"""Share of parcels that take a day more than the next delivery day; our estimate."""
SLOW_CARRIER: Final = 0.08
"""As much more with the third carrier; our estimate."""
BACKLOG: Final = 0.12
"""As much more where the warehouse was closed for two days or more before; our estimate."""
STUCK: Final = 0.015
"""Share of parcels that take two to five delivery days more; our estimate."""
PROMISED: Final = 2
"""Delivery days from dispatch that are promised; one more to Jeju, which takes one more."""
CARRIER_SHARES: Final = (0.5, 0.3, 0.2)
LOST_FROM_S: Final = 10 * 86_400.0
"""Refunds that take longer than this from the order may be of lost parcels..."""
LOST: Final = 0.2
"""...and this share of them is: two in a thousand parcels; our estimate."""
URGENT_S: Final = 86_400.0
"""A refund less than this after the usual dispatch: the parcel went by courier, at once."""

_KST_S: Final = 9 * 3_600.0
_DAY_S: Final = 86_400.0
_HOUR_S: Final = 3_600.0
_SUNDAY: Final = 6
_METRO: Final = tuple(REGIONS.index(r) for r in ("SEOUL", "INCHEON", "GYEONGGI"))
_JEJU: Final = REGIONS.index("JEJU")
_CARRIER_SHARES: Final = cumulative(CARRIER_SHARES)
_DISPATCH_S: Final = (18 * _HOUR_S, 0.5)
_TRANSIT_S: Final = (26 * _HOUR_S, 0.35)
"""Median and log-sd of delays where there is no calendar."""
PAID, CANCELLED, REFUNDED = 0, 1, 2
STEPS: Final = (
    ("DISPATCHED", 1, "dispatched"),
    ("IN_TRANSIT", 2, "in_transit"),
    ("DELIVERED", 3, "delivered"),
    ("LOST", 3, "lost"),
    ("RETURNED", 4, "returned"),
)
"""Status, revision, and the attribute of `Parcels` that says when."""
Draw: TypeAlias = Callable[[str], Floats]
"""Returns a uniform number for each order, by what it decides."""


@dataclass(frozen=True)
class Parcels:
    """Parcels of orders: columns of equal length.

    Attributes:
        order_id: the orders.
        user_id: who ordered.
        carrier: places in `CARRIERS`.
        region: places in `REGIONS`, or `UNKNOWN`.
        promised: days after the day of dispatch until whose end delivery is promised.
        dispatched: seconds since the Unix epoch, like all times; NaN where there is no such step:
            here, where the order was cancelled before.
        in_transit: leaves the sorting centre.
        delivered: is handed over.
        lost: the carrier declares it lost.
        returned: is back in the warehouse.
    """

    order_id: Ints
    user_id: Ints
    carrier: Ints
    region: Ints
    promised: Ints
    dispatched: Floats
    in_transit: Floats
    delivered: Floats
    lost: Floats
    returned: Floats


def region_of(cities: pl.Series) -> Ints:
    """Return the places of cities in `REGIONS`.

    >>> region_of(pl.Series(["서울 강남구", "제주 서귀포시", None, "Atlantis"])).tolist()
    [0, 16, -1, -1]
    """
    places = {province: place for place, province in enumerate(REGION_OF)}
    found = cities.cast(pl.String).str.split(" ").list.first()
    codes: Ints = found.replace_strict(places, default=UNKNOWN, return_dtype=pl.Int64).to_numpy()
    return codes


def parcels(
    seed: int,
    orders: pl.DataFrame,
    region: Ints,
    *,
    fate: Ints,
    fate_s: Floats,
    speed: float = 1.0,
) -> Parcels:
    """Return how the parcels of orders travel.

    Args:
        seed: of the shop.
        orders: n rows with order_id, user_id and ordered_at.
        region: places of the customers' regions in `REGIONS`, or `UNKNOWN`.
        fate: `PAID`, `CANCELLED` or `REFUNDED`: how the order ends.
        fate_s: when that is, seconds since the Unix epoch; meaningless of paid orders.
        speed: of the shop.
    """
    ids = orders["order_id"].to_numpy()
    ordered = orders["ordered_at"].dt.timestamp("us").to_numpy() / 1e6

    def u(what: str) -> Floats:
        return hashed(ids, f"{seed}/shipments/{what}")

    carrier = pick(u("carrier"), _CARRIER_SHARES)
    promised, dispatched, in_transit, delivered = (
        _by_calendar(ordered, region, carrier, u) if speed == 1 else _divided(ordered, speed, u)
    )
    nothing = np.full(len(ids), np.nan)
    whole = Parcels(
        ids, orders["user_id"].to_numpy(), carrier, region, promised, dispatched, in_transit,
        delivered, nothing, nothing,
    )  # fmt: skip
    whole = _refunded(whole, ordered, np.where(fate == REFUNDED, fate_s, np.nan), speed, u)
    return _cancelled(whole, np.where(fate == CANCELLED, fate_s, np.nan), speed, u)


def _by_calendar(
    ordered: Floats, region: Ints, carrier: Ints, u: Draw
) -> tuple[Ints, Floats, Floats, Floats]:
    local = ordered + _KST_S
    day = np.floor_divide(local, _DAY_S).astype(np.int64)
    late = local - day * _DAY_S >= CUT_OFF_H * _HOUR_S
    out = korean_calendar.next_workday(day + late)
    dispatched = _at(out, LEAVES_H, u("leaves"))
    first, last = SORTED_H
    in_transit = dispatched + (first + (last - first) * u("sorted")) * _HOUR_S
    slower = np.where(np.isin(region, _METRO), SLOWER["metro"], SLOWER["other"])
    slower = slower + SLOW_CARRIER * (carrier == len(CARRIERS) - 1)
    closed = (korean_calendar.next_workday(out - 1) == out) & (
        korean_calendar.next_workday(out - 2) == out
    )
    days = 1 + (u("slower") < slower + BACKLOG * closed).astype(np.int64)
    stuck = u("stuck")
    days += np.where(stuck < STUCK, 2 + np.floor(4 * stuck / STUCK), 0).astype(np.int64)
    island = (region == _JEJU).astype(np.int64)
    arrives = _delivery_days(out, days + island)
    hour = (u("arrives") + u("arrives, too")) / 2
    promised = _delivery_days(out, PROMISED + island) - out
    return promised, dispatched, in_transit, _at(arrives, ARRIVES_H, hour)


def _at(day: Ints, hours: tuple[float, float], u: Floats) -> Floats:
    """Return moments of days in Seoul, within hours, seconds since the Unix epoch."""
    first, last = hours
    moment: Floats = day * _DAY_S + (first + (last - first) * u) * _HOUR_S - _KST_S
    return moment


def _delivery_days(day: Ints, ahead: Ints) -> Ints:
    """Return the n-th day after each day on which carriers deliver."""
    day, left = day.copy(), ahead.copy()
    while (rest := np.flatnonzero(left > 0)).size:
        day[rest] += 1
        closed = (korean_calendar.weekday(day[rest]) == _SUNDAY) | (
            korean_calendar.is_public_holiday(day[rest])
        )
        left[rest] -= ~closed
    return day


def _divided(ordered: Floats, speed: float, u: Draw) -> tuple[Ints, Floats, Floats, Floats]:
    dispatched = ordered + _delay(_DISPATCH_S, u("leaves")) / speed
    transit = _delay(_TRANSIT_S, u("arrives")) / speed
    promised = np.full(len(ordered), PROMISED, np.int64)
    return promised, dispatched, dispatched + 0.25 * transit, dispatched + transit


def _delay(law: tuple[float, float], u: Floats) -> Floats:
    median, spread = law
    result: Floats = median * exp(spread * normal(u))
    return result


def _refunded(p: Parcels, ordered: Floats, refund: Floats, speed: float, u: Draw) -> Parcels:
    """Let the parcels of refunded orders come back, or be lost, before the refund."""
    if np.isnan(refund).all():
        return p
    back = ~np.isnan(refund)
    urgent = back & (refund - p.dispatched < URGENT_S / speed)
    dispatched = np.where(urgent, ordered + 0.15 * (refund - ordered), p.dispatched)
    gap = refund - dispatched
    in_transit = np.where(back, np.minimum(p.in_transit, dispatched + 0.2 * gap), p.in_transit)
    lost = back & (refund - ordered > LOST_FROM_S / speed) & (u("lost") < LOST)
    early = back & (p.delivered + 0.75 * _DAY_S / speed > refund)
    delivered = np.where(early, dispatched + (0.45 + 0.15 * u("early")) * gap, p.delivered)
    kept = refund - delivered
    home = np.minimum(0.45 * kept, (1 + 30 * u("returned")) * _HOUR_S / speed)
    declared = refund - np.minimum(0.2 * gap, (2 + 22 * u("returned")) * _HOUR_S / speed)
    return replace(
        p,
        dispatched=dispatched,
        in_transit=in_transit,
        delivered=np.where(lost, np.nan, delivered),
        lost=np.where(lost, declared, np.nan),
        returned=np.where(back & ~lost, refund - home, np.nan),
    )


def _cancelled(p: Parcels, cancel: Floats, speed: float, u: Draw) -> Parcels:
    """Send no parcel of an order that is cancelled in time; call the others back."""
    if np.isnan(cancel).all():
        return p
    ends = ~np.isnan(cancel)
    gone = ends & (cancel <= p.dispatched)
    called = ends & ~gone
    delivered = np.where(called & (p.delivered > cancel), np.nan, p.delivered)
    since = np.fmax(np.fmax(cancel, p.in_transit), delivered)
    returned = since + (12 + 36 * u("called back")) * _HOUR_S / speed
    never = np.where(gone, np.nan, 0.0)
    return replace(
        p,
        dispatched=p.dispatched + never,
        in_transit=p.in_transit + never,
        delivered=delivered + never,
        returned=np.where(called, returned, p.returned) + never,
    )


def kept(p: Parcels, in_transit: Floats, delivered: Floats) -> Parcels:
    """Return parcels with the steps that are known to have been made, if a fate came late.

    Args:
        p: the parcels.
        in_transit: when each step was made; NaN if it was not, or is not known.
        delivered: likewise.
    """
    made = ~np.isnan(delivered)
    delivered = np.where(made, delivered, p.delivered)
    returned = np.where(made & ~np.isnan(p.lost), p.lost, p.returned)
    late = made & (returned <= delivered)
    return replace(
        p,
        in_transit=np.where(np.isnan(in_transit), p.in_transit, in_transit),
        delivered=delivered,
        lost=np.where(made, np.nan, p.lost),
        returned=np.where(late, delivered + 1, returned),
    )


def events(p: Parcels) -> pl.DataFrame:
    """Return all steps of parcels, `SCHEMAS["shipments"]`, in the order of their times."""
    times = {name: getattr(p, name) for _, _, name in STEPS}
    frames = [_step(p, times, *step) for step in STEPS]
    return pl.concat(frames).sort("updated_at", "shipment_id", "rev")


def _step(
    p: Parcels, times: Mapping[str, Floats], status: str, rev: int, name: str
) -> pl.DataFrame:
    rows = np.flatnonzero(~np.isnan(times[name]))
    now = times[name][rows]
    seen = {n: np.where(t[rows] <= now, t[rows], np.nan) for n, t in times.items()}
    ids = pl.Series(p.order_id[rows])
    region = pl.Series(p.region[rows])
    return pl.DataFrame(
        {
            "shipment_id": ids,
            "rev": pl.repeat(rev, len(rows), dtype=pl.Int64, eager=True),
            "order_id": ids,
            "user_id": p.user_id[rows],
            "carrier": pl.Series(CARRIERS).gather(p.carrier[rows]),
            "region": pl.Series(REGIONS).gather(region.set(region == UNKNOWN, None)),
            "status": pl.repeat(status, len(rows), dtype=pl.String, eager=True),
            "promised_days": p.promised[rows],
            "dispatched_at": _instants(seen["dispatched"]),
            "in_transit_at": _instants(seen["in_transit"]),
            "delivered_at": _instants(seen["delivered"]),
            "returned_at": _instants(seen["returned"]),
            "lost_at": _instants(seen["lost"]),
            "updated_at": _instants(now),
        },
        schema=SCHEMAS["shipments"],
    )


def _instants(seconds: Floats) -> pl.Series:
    """Return times in whole milliseconds; null for NaN."""
    ms = pl.Series(np.nan_to_num(np.rint(seconds * 1_000)).astype(np.int64) * 1_000)
    instants: pl.Series = ms.set(pl.Series(np.isnan(seconds)), None).cast(pl.Datetime("us", "UTC"))
    return instants
