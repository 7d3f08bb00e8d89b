"""How parcels travel: the targets of their times, and that no order contradicts its parcel."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import polars as pl
import pytest

from generators.behaviour import outcomes, shipments
from generators.behaviour.shipments import CANCELLED, PAID, REFUNDED, Parcels
from generators.portable_math import exp
from generators.random_streams import Floats, Ints, normal, stream
from generators.scenarios import korean_calendar
from shop.ids import EPOCH_MS, ids_at
from shop.optional.shipments import REGIONS
from tests.generators.topics.simulated import PAGE

N = 40_000
YEAR = 1_767_225_600.0  # 2026
DAY_S = 86_400.0


def orders(speed: float = 1.0) -> tuple[pl.DataFrame, Ints, Floats]:
    """Orders of a year with the fates and delays that the shop gives them."""
    u = stream(1, "orders").random((N, 4))
    at = np.floor((YEAR + np.sort(u[:, 0]) * 365 * DAY_S) * 1_000) / 1_000
    fate = np.where(u[:, 1] < 0.035, CANCELLED, np.where(u[:, 1] < 0.105, REFUNDED, PAID))
    laws = {CANCELLED: outcomes.CANCEL_AFTER_S, REFUNDED: outcomes.REFUND_AFTER_S}
    fate_s = at.copy()
    for kind, (median, spread) in laws.items():
        rows = np.flatnonzero(fate == kind)
        fate_s[rows] += median / speed * exp(spread * normal(u[rows, 2]))
        if kind == REFUNDED and speed == 1:
            fate_s[rows] = outcomes.in_office_hours(fate_s[rows], u[rows, 3])
    frame = pl.DataFrame({
        "order_id": ids_at((at * 1_000).astype(np.int64) - EPOCH_MS, 1),
        "user_id": np.arange(N) % 999 + 1,
        "ordered_at": pl.Series(np.rint(at * 1e6).astype(np.int64)).cast(pl.Datetime("us", "UTC")),
    })  # fmt: skip
    return frame, fate, fate_s


@pytest.fixture(scope="module")
def year() -> tuple[pl.DataFrame, Ints, Floats, Parcels]:
    frame, fate, fate_s = orders()
    region = np.arange(N) % len(REGIONS)
    return frame, fate, fate_s, shipments.parcels(1, frame, region, fate=fate, fate_s=fate_s)


def seconds(frame: pl.DataFrame) -> Floats:
    return frame["ordered_at"].dt.timestamp("us").to_numpy() / 1e6


Year = tuple[pl.DataFrame, Ints, Floats, Parcels]


def test_delivery_times_meet_their_targets(year: Year) -> None:
    frame, fate, _, p = year
    paid = fate == PAID
    took = (p.delivered - seconds(frame))[paid] / DAY_S
    transit = (p.delivered - p.dispatched)[paid] / DAY_S
    assert np.isfinite(took).all(), "each paid order is delivered"
    assert 1.8 < np.median(took) < 2.8
    assert 4.0 < np.quantile(took, 0.9) < 5.5, "weekends"
    assert 0.64 < (transit < 1.5).mean() < 0.74, "most arrive on the next day"
    left, came = (np.floor_divide(at + 9 * 3_600, DAY_S) for at in (p.dispatched, p.delivered))
    in_time, lost = (came <= left + p.promised)[paid].mean(), np.isfinite(p.lost).mean()
    assert 0.95 < in_time < 0.995
    assert 0.001 < lost < 0.004
    half, nine = np.quantile(took, (0.5, 0.9))
    assert f"| median {half:.1f} days, 90 % within {nine:.1f} days" in PAGE
    assert f"dispatch | {(transit < 1.5).mean():.0%}".replace("%", " %") in PAGE
    assert f"day of dispatch | {100 * in_time:.1f} % |" in PAGE
    assert f"| lost | {1_000 * lost:.1f} of 1,000 parcels |" in PAGE
    came_back = np.isfinite(p.returned)
    assert (came_back | np.isfinite(p.lost))[fate == REFUNDED].all()
    assert not came_back[paid].any()


def test_regions_and_carriers_differ(year: Year) -> None:
    _, fate, _, p = year
    transit = np.where(fate == PAID, p.delivered - p.dispatched, np.nan) / DAY_S
    by_region = [np.nanmean(transit[p.region == r]) for r in range(len(REGIONS))]
    seoul, jeju = by_region[0], by_region[-1]
    assert jeju > max(by_region[:-1]) + 0.5
    assert seoul < np.mean(by_region[1:-1])
    by_carrier = [np.nanmean(transit[p.carrier == c]) for c in range(3)]
    assert by_carrier[2] > max(by_carrier[:2])


def test_warehouses_and_carriers_rest(year: Year) -> None:
    _, fate, _, p = year
    kept = fate == PAID  # the others are drawn backwards
    left, came = (
        np.floor_divide(at[kept] + 9 * 3_600, DAY_S).astype(np.int64)
        for at in (p.dispatched, p.delivered)
    )
    assert (korean_calendar.next_workday(left) == left).all()
    closed = (korean_calendar.weekday(came) == 6) | korean_calendar.is_public_holiday(came)
    assert not closed.any()


@pytest.mark.parametrize("speed", [1.0, 60.0])
def test_no_order_contradicts_its_parcel(speed: float) -> None:
    frame, fate, fate_s = orders(speed)
    region = np.full(N, shipments.UNKNOWN)
    p = shipments.parcels(1, frame, region, fate=fate, fate_s=fate_s, speed=speed)
    sent = np.isfinite(p.dispatched)
    with np.errstate(invalid="ignore"):
        assert (p.dispatched > seconds(frame))[sent].all()
        assert sent[fate != CANCELLED].all()
        assert (fate_s > p.dispatched)[sent & (fate == CANCELLED)].all()
        assert (np.fmax(p.returned, p.lost) < fate_s)[fate == REFUNDED].all()
        for before, after in (
            ("dispatched", "in_transit"), ("in_transit", "delivered"), ("in_transit", "lost"),
            ("delivered", "returned"), ("in_transit", "returned"),
        ):  # fmt: skip
            assert not (getattr(p, before) >= getattr(p, after)).any(), (before, after)
    assert not (np.isfinite(p.lost) & (np.isfinite(p.delivered) | np.isfinite(p.returned))).any()
    steps = shipments.events(p)
    assert not steps.select(pl.struct("shipment_id", "rev").is_duplicated().any()).item()
    assert steps["region"].null_count() == len(steps)


def test_each_step_knows_those_before_it_and_none_after(year: Year) -> None:
    steps = shipments.events(year[3])
    times = ["in_transit_at", "delivered_at", "lost_at", "returned_at"]
    assert steps["updated_at"].is_sorted()
    for name in times:
        assert (steps[name] <= steps["updated_at"]).all()
    newest = steps.sort("shipment_id", "rev").unique("shipment_id", keep="last")
    column = {"IN_TRANSIT": 0, "DELIVERED": 1, "LOST": 2, "RETURNED": 3}
    for status, place in column.items():
        rows = newest.filter(pl.col("status") == status)
        assert (rows[times[place]] == rows["updated_at"]).all(), status


def test_a_parcel_depends_on_its_order_alone(year: Year) -> None:
    """So live, which sees them in other groups and at other times, and a history agree."""
    frame, fate, fate_s, whole = year
    part = np.arange(0, N, 97)
    again = shipments.parcels(
        1, frame[part], whole.region[part], fate=fate[part], fate_s=fate_s[part]
    )
    for f in fields(Parcels):
        np.testing.assert_array_equal(getattr(again, f.name), getattr(whole, f.name)[part])
    other = shipments.parcels(
        2, frame[part], whole.region[part], fate=fate[part], fate_s=fate_s[part]
    )
    assert (other.dispatched != again.dispatched).any()


def test_a_step_that_was_made_stays(year: Year) -> None:
    """A fate that becomes known late changes what is to come only."""
    frame, fate, fate_s, _ = year
    region = np.zeros(N, np.int64)
    unknowing = shipments.parcels(1, frame, region, fate=np.zeros(N, np.int64), fate_s=fate_s)
    knowing = shipments.parcels(1, frame, region, fate=fate, fate_s=fate_s)
    made = np.where(fate == REFUNDED, unknowing.delivered, np.nan)
    kept = shipments.kept(knowing, np.full(N, np.nan), made)
    back = fate == REFUNDED
    assert (kept.delivered[back] == unknowing.delivered[back]).all()
    assert np.isnan(kept.lost[back]).all()
    assert (kept.returned > kept.delivered)[back].all()
    untouched = replace(kept, delivered=knowing.delivered)
    assert (untouched.dispatched[~back] == knowing.dispatched[~back])[
        np.isfinite(knowing.dispatched[~back])
    ].all()
