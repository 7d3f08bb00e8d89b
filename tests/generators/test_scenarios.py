"""Twenty scenarios: when they run, what each does to the orders, and how they are started."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import redis

from generators.behaviour import catalogue, demand_curves, order_events, outcomes, propensity
from generators.behaviour.order_events import Customers, Goods
from generators.random_streams import stream
from generators.scenarios import control, timetable
from generators.scenarios.command import answer, configure, page_rows
from generators.scenarios.table import BY_NAME, SCENARIOS, Scenario
from generators.scenarios.timetable import NONE, ScenarioEffects, ScenarioSpan, compose
from shop import command
from shop.clock import KST
from shop.errors import UsageError
from shop.settings import Settings
from tests.support.generator_processes import NOW, cached_user

N = 20_000
IDS = np.arange(1, 1_001, dtype=np.int64)
SOLD = Goods(IDS, IDS % 10, 5_000 + IDS * 97 % 90_000, IDS * 0)
KEYS = [c.key for c in catalogue.CATEGORIES]


def stream_of(effects: ScenarioEffects) -> pl.DataFrame:
    """Orders of the same customers from the same numbers, under some effects."""
    rng = stream(1, "scenario test")
    who = Customers(
        np.arange(1, N + 1), (rng.random(N) * 2).astype(np.int64), np.full(N, 1_988, np.int64)
    )
    return order_events.orders(
        rng.random((N, order_events.DRAWS)), np.arange(1, N + 1), who,
        order_events.draw_tables(SOLD, effects),
        at_us=np.full(N, int(NOW.timestamp() * 1e6)), year=2026,
    )  # fmt: skip


def effects_of(scenario: Scenario, intensity: float = 1.0) -> ScenarioEffects:
    span = timetable.run_of(scenario, 0.0, scenario.lasts_s, intensity)[0]
    return compose([span])


@pytest.fixture(scope="module")
def plain() -> pl.DataFrame:
    return stream_of(NONE)


def in_category(orders: pl.DataFrame, key: str) -> float:
    found = order_events.categories_of(SOLD, orders["product_id"].to_numpy())
    return float((found == KEYS.index(key)).mean())


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_each_scenario_does_to_the_stream_what_the_table_says(
    scenario: Scenario, plain: pl.DataFrame
):
    effects = effects_of(scenario)
    orders = stream_of(effects)
    assert set(orders["scenario"].to_list()) == {scenario.name}
    assert plain["scenario"].null_count() == N
    assert effects.rate == pytest.approx(
        scenario.rate * (scenario.shape[0][1] if scenario.shape else 1), rel=1e-5
    )
    if not scenario.focus:
        for key, factor in scenario.categories.items():
            more = in_category(orders, key) > in_category(plain, key)
            others = [f for k, f in scenario.categories.items() if k != key]
            assert more or (others and max(others) > factor), key
    for method, factor in scenario.payments.items():
        share = [(o["payment_method"] == method).mean() for o in (plain, orders)]
        assert share[1] > share[0] if factor > 1 else share[1] == 0
    if scenario.quantity != 1:
        # Of ordinary goods: the products in focus may be of a category that is bought one by one.
        common = np.setdiff1d(IDS, order_events.draw_tables(SOLD, effects).focus + 1).tolist()
        several = [
            (o.filter(pl.col("product_id").is_in(common))["quantity"] > 1).mean()
            for o in (plain, orders)
        ]
        assert several[1] > several[0] * 1.2
    if scenario.discount:
        low, high = scenario.discount
        off = orders["discount"] / (orders["quantity"] * orders["unit_price"])
        offered = ((off > low / 100 - 0.005) & (off < high / 100 + 0.005)).mean()
        assert offered > 0.8 * scenario.discount_share
    if scenario.focus:
        most = orders["product_id"].value_counts(sort=True)["count"][: scenario.focus_products]
        assert most.sum() / N > 0.9 * scenario.focus
    if scenario.value:
        assert orders["unit_price"].mean() < plain["unit_price"].mean()
    u = stream(2, "fate").random((N, outcomes.OUTCOME_DRAWS))
    with_, without = (outcomes.outcome(u, orders, SOLD, e) for e in (effects, NONE))
    for name, factor in (("cancelled", scenario.cancel), ("refunded", scenario.refund)):
        change = getattr(with_, name).sum() - getattr(without, name).sum()
        assert change * (factor - 1) > 0 or (factor == 1 and abs(change) < N * 0.01), name
    for segment in effects.segments:
        lifted = _scores(effects) - _scores(NONE)
        assert lifted.max() == pytest.approx(segment.lift)
        assert (lifted == 0).any() or not (segment.genders or segment.ages or segment.grades)


def _scores(effects: ScenarioEffects) -> np.ndarray:
    users = [
        cached_user(i, orders=i % 2, grade=grade, last_days=20 + 90 * (i % 4 == 1))
        for i, grade in enumerate(propensity.GRADES * 4, 1)
    ]
    known = propensity.traits(users, NOW)
    flipped = propensity.Traits(**{**vars(known), "gender": known.ids // 5 % 2,
                                   "birth_year": 1_950 + known.ids * 3})  # fmt: skip
    return propensity.terms(flipped, NOW, effects.segments)["scenario"]


def days_of(name: str, year: int) -> set[date]:
    return {
        datetime.fromtimestamp(s.start, KST).date()
        for s in timetable.year(1, year)
        if s.name == name
    }


@pytest.mark.parametrize(
    ("name", "year", "first", "last"),
    [
        ("seollal_holiday", 2026, (2, 16), (2, 19)), ("seollal_gifts", 2026, (2, 7), (2, 13)),
        ("chuseok_holiday", 2025, (10, 5), (10, 8)), ("chuseok_gifts", 2026, (9, 15), (9, 21)),
        ("black_friday", 2026, (11, 27), (11, 30)), ("double_eleven", 2026, (11, 1), (11, 11)),
        ("christmas", 2026, (12, 18), (12, 24)), ("family_month", 2026, (5, 1), (5, 8)),
    ],
)  # fmt: skip
def test_the_calendar(name: str, year: int, first: tuple[int, int], last: tuple[int, int]):
    days = days_of(name, year)
    assert (min(days), max(days)) == (date(year, *first), date(year, *last))
    assert len(days) == (max(days) - min(days)).days + 1


def test_a_payday_at_the_weekend_moves_to_friday():
    assert date(2026, 7, 24) in days_of("payday", 2026)  # the 25th and 26th are a weekend
    assert not {date(2026, 7, 25), date(2026, 7, 26)} & days_of("payday", 2026)


def test_the_peak_hour_of_the_festival():
    spans = [s for s in timetable.year(1, 2026) if s.name == "double_eleven" and s.rate > 4]
    (peak,) = spans
    assert datetime.fromtimestamp(peak.start, KST) == datetime(2026, 11, 11, 21, tzinfo=KST)
    assert peak.end - peak.start == 3_600


def test_what_chance_starts_depends_on_the_seed_alone():
    assert timetable.year(1, 2026) == timetable.year.__wrapped__(1, 2026)
    assert timetable.year(1, 2026) != timetable.year(2, 2026)


def test_rates_multiply_up_to_the_cap_and_the_larger_discount_wins():
    both = compose(
        [ScenarioSpan(0, 1, "flash_sale", 6.0), ScenarioSpan(0, 1, "double_eleven", 4.0)]
    )
    assert both.rate == timetable.MAX_RATE
    assert both.name == "flash_sale"
    assert both.discount is not None
    assert both.discount[1] == 60
    assert both.cancel == pytest.approx(2.0 * 1.4)
    own = compose(
        [ScenarioSpan(0, 1, "flash_sale", 6.0), ScenarioSpan(0, 1, "dust_rain", 1.1, manual=True)]
    )
    assert (own.name, own.manual_rate) == ("dust_rain", 1.1)


def test_intensity_scales_every_effect():
    payday = BY_NAME["payday"]
    one, two = effects_of(payday), effects_of(payday, 2.0)
    assert two.rate == pytest.approx(one.rate**2)
    assert two.categories["fashion"] == pytest.approx(2 * one.categories["fashion"])
    assert two.segments[0].lift == pytest.approx(2 * one.segments[0].lift)


def test_the_operator_starts_and_stops(redis_client: redis.Redis):
    r = redis_client
    control.start(r, "flash_sale", NOW, duration=600, intensity=0.5)
    later = NOW + timedelta(seconds=599)
    assert control.started(r, later)["flash_sale"].intensity == 0.5
    spans = control.spans(control.started(r, later))
    assert spans[0].rate == pytest.approx(6**0.5)
    assert spans[-1].end == (NOW + timedelta(seconds=600)).timestamp()
    assert control.started(r, NOW + timedelta(seconds=600)) == {}
    assert r.hgetall(control.KEY) == {}
    with pytest.raises(UsageError, match="not started by the operator"):
        control.stop(r, "flash_sale")
    r.hset(control.KEY, mapping={"payday": "{", "nonsense": "{}"})
    assert control.started(r, NOW) == {}


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("nonsense", {}, "known: payday"),
        ("payday", {"intensity": 0.0}, "intensity"),
        ("payday", {"intensity": float("nan")}, "intensity"),
        ("payday", {"intensity": 9.0}, "up to 3"),
        ("payday", {"duration": 0.1}, "duration"),
        ("payday", {"duration": 1e9}, "30 days"),
    ],
)
def test_refused_values_are_answered_with_the_reason(
    redis_client: redis.Redis, name: str, options: dict[str, float], said: str
):
    with pytest.raises(UsageError, match=said):
        control.start(redis_client, name, NOW, **options)
    assert not redis_client.exists(control.KEY)


def test_the_command(
    settings: Settings, redis_client: redis.Redis, capsys: pytest.CaptureFixture[str]
):
    def call(*words: str) -> str:
        parser = command.Parser()
        configure(parser)
        assert answer(parser.parse(words), settings, lambda: NOW) == 0
        return capsys.readouterr().out

    assert len(json.loads(call("list", "--json"))) == 20
    assert "until" in call("start", "flash_sale", "--duration", "5m", "--intensity", "2")
    status = {s["scenario"]: s for s in json.loads(call("status", "--json"))}
    assert (status["flash_sale"]["by"], status["flash_sale"]["intensity"]) == ("operator", 2.0)
    assert status["pre_payday"]["by"] == "calendar"  # NOW is a 23rd
    assert "stopped" in call("stop", "flash_sale")
    assert "flash_sale" not in call("status")


def test_the_page_of_the_scenarios_is_the_table():
    page = (Path(__file__).parents[2] / "docs" / "scenarios.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == page_rows()


def test_most_orders_carry_no_scenario():
    for seed, year in ((1, 2026), (2, 2025)):
        start = datetime(year, 1, 1, tzinfo=KST).timestamp()
        end = start + 365 * 86_400
        spans = timetable.between(seed, start, end)
        marked = total = 0.0
        for a, b, effects in timetable.timeline(spans, start, end):
            edges = demand_curves.grid(a, b)
            orders = (np.diff(edges) * demand_curves.multiplier(edges[:-1])).sum() * effects.rate
            total += orders
            marked += orders * (effects.name is not None)
        assert marked < total / 2


def test_the_name_is_that_of_the_strongest():
    def named(*spans: ScenarioSpan) -> str | None:
        return compose(spans).name

    weak, strong = ScenarioSpan(0, 9, "payday", 1.35), ScenarioSpan(0, 9, "black_friday", 1.8)
    assert named(weak, strong) == named(strong, weak) == "black_friday"
    # Half the rate is a stronger effect than 1.8 times the rate.
    assert named(strong, ScenarioSpan(0, 9, "chuseok_holiday", 0.5)) == "chuseok_holiday"
    manual = ScenarioSpan(0, 9, "dust_rain", 1.15, manual=True)
    assert named(strong, manual) == "dust_rain"
    assert compose([weak, strong]).discount == compose([strong]).discount
