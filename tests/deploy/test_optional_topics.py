"""The queries of docs/optional-topics.md find what the generators put into a shop; so do panels."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from generators.behaviour.visits.visit_shares import BUYING, LOOKING, SIGNING_UP
from shop.optional.page_views import CHANNELS
from shop.optional.registry import SWITCHES
from shop.postgres import Connection
from tests.deploy.backfilled_shop import DAYS
from tests.deploy.dashboards import MODELS, answer, ask
from tests.support.guide_commands import ROOT, blocks

PAGE = ROOT / "docs" / "optional-topics.md"
TEXT = " ".join(PAGE.read_text(encoding="utf-8").split())
QUESTIONS = [block for block in blocks(PAGE) if block.info == "sql"]
CONVERSION = dict(sorted(zip(CHANNELS, map(float.__truediv__, BUYING, LOOKING), strict=True),
                         key=lambda c: -c[1]))  # fmt: skip
"""Channel -> visits that order to visits that only look, as the generators have it; best first."""
BY_CHANNEL = "Visits by channel: how far they came, per cent"
OPTIONAL_PANELS = [pytest.param(p, id=p["title"]) for p in MODELS["optional"]["panels"]]
HISTORY = "(SELECT max(ends_at) FROM backfill_runs)"


def question(words: str) -> str:
    """Return the query of the page that has these words."""
    (found,) = (block for block in QUESTIONS if words in block.text)
    return found.text


def rows(shop: Connection, query: str) -> list[dict[str, Any]]:
    cursor = shop.execute(query.rstrip().rstrip(";").encode())
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def shares(found: list[dict[str, Any]], column: str) -> dict[str, float]:
    total = sum(row[column] or 0 for row in found)
    return {row["channel"]: float((row[column] or 0) / total) for row in found}


def test_the_funnel_finds_how_channels_convert(shop: Connection) -> None:
    found = rows(shop, question("saw_a_product"))
    assert [row["channel"] for row in found] == list(CONVERSION)
    assert shares(found, "orders") == pytest.approx(
        dict(zip(CHANNELS, BUYING, strict=True)), abs=0.02
    )
    for row in found:
        steps = [row[c] for c in ("visits", "saw_a_product", "baskets", "checkouts", "orders")]
        assert steps == sorted(steps, reverse=True)
        assert steps[-1] > 0
    ((visits, orders),) = shop.execute(
        "SELECT count(DISTINCT session_id), count(DISTINCT order_id) FROM page_views"
    ).fetchall()
    assert (sum(r["visits"] for r in found), sum(r["orders"] for r in found)) == (visits, orders)


def test_silence_finds_the_sessions(shop: Connection) -> None:
    """As many of them as the page says, by either rule."""
    query = question("interval '30 minutes'")
    ((said, better),) = re.findall(
        r"(\d+) % of the visits that it finds .*? it is ([\d.]+) %", TEXT
    )
    (silence,) = rows(shop, query)
    (channel,) = rows(shop, query.replace("-- OR", "OR"))
    assert silence["visits"] > 50_000
    assert float(silence["exact"]) == pytest.approx(float(said), abs=0.5)
    assert float(channel["exact"]) == pytest.approx(float(better), abs=0.15)


def test_attribution_finds_who_won_the_customers(shop: Connection) -> None:
    found = rows(shop, question("first_touch"))
    last, first = shares(found, "last_touch"), shares(found, "first_touch")
    assert last == pytest.approx(dict(zip(CHANNELS, BUYING, strict=True)), abs=0.05)
    assert first == pytest.approx(dict(zip(CHANNELS, SIGNING_UP, strict=True)), abs=0.08)
    assert "a third of the sign-ups and an eighth of the visits that order" in TEXT
    assert first["AD"] > 2 * last["AD"]
    ((won, ads),) = shop.execute(
        "SELECT count(*), count(*) FILTER (WHERE channel = 'AD')"
        " FROM page_views WHERE page = 'SIGN_UP'"
    ).fetchall()
    assert ads / won == pytest.approx(1 / 3, abs=0.04)
    ((bought, ads),) = shop.execute(
        "SELECT count(*), count(*) FILTER (WHERE channel = 'AD')"
        " FROM page_views WHERE order_id IS NOT NULL"
    ).fetchall()
    assert ads / bought == pytest.approx(1 / 8, abs=0.02)


def test_versions_say_where_customers_lived(shop: Connection) -> None:
    found = {row["order_id"]: row["city"] for row in rows(shop, question("h.city"))}
    wanted = dict(shop.execute(
        "SELECT o.order_id, (SELECT c.city FROM customer_changes AS c"
        "    WHERE c.user_id = o.user_id AND c.updated_at <= o.ordered_at"
        "    ORDER BY c.updated_at DESC, c.rev DESC LIMIT 1)"
        " FROM orders AS o JOIN users AS u USING (user_id) WHERE u.created_at IS NOT NULL"
    ).fetchall())  # fmt: skip
    assert found == wanted
    ((moved,),) = shop.execute(
        "SELECT count(*) FROM users AS u JOIN users_history AS h USING (user_id)"
        " WHERE h.current AND h.city <> u.city"
    ).fetchall()
    assert moved > 50, "there must be moves to tell from the profile of the sign-up"


def test_orders_agree_with_parcels_and_prices(shop: Connection) -> None:
    assert rows(shop, question("shipment_id"))[0]["count"] == 0
    prices = question("list_price").rstrip().rstrip(";")
    assert rows(shop, f"{prices} AND ordered_at < {HISTORY}")[0]["count"] == 0
    ((refunds, priced),) = shop.execute(
        "SELECT (SELECT count(*) FROM orders WHERE status = 'REFUNDED'),"
        " (SELECT count(*) FROM order_prices WHERE list_price IS NOT NULL)"
    ).fetchall()
    assert refunds > 100
    assert priced > 5_000


def test_baskets_split_the_discounts(shop: Connection) -> None:
    (found,) = rows(shop, question("basket_lines"))
    (wanted,) = shop.execute(
        f"SELECT count(*), sum(discount) FROM orders WHERE ordered_at < {HISTORY}"
    ).fetchall()
    assert (found["orders"], found["discount"]) == wanted
    assert found["coupons"] + found["sales"] == found["discount"]
    assert 0 < found["coupons"] < found["discount"]
    assert found["baskets"] < found["orders"]


def test_every_query_of_the_page_is_asked_here() -> None:
    known = ("saw_a_product", "interval '30 minutes'", "first_touch", "h.city", "s.shipment_id",
             "list_price", "basket_lines")  # fmt: skip
    assert sorted(question(words) for words in known) == sorted(b.text for b in QUESTIONS)


# -- Grafana ---------------------------------------------------------------------------------------


def test_the_panels_of_a_day_count_everything(shop: Connection, now: datetime) -> None:
    """A day has fewer rows than the panels look at."""
    visits = {row["channel"]: row for row in answer(shop, "optional", BY_CHANNEL, now, days=2)}
    counted = Counter[tuple[str, str]]()
    for channel, steps in shop.execute(
        "SELECT min(channel), ARRAY[count(*) > 0, bool_or(page = 'PRODUCT'),"
        " bool_or(page = 'BASKET'), bool_or(page = 'CHECKOUT'), count(order_id) > 0]"
        " FROM page_views GROUP BY session_id"
        " HAVING min(viewed_at) BETWEEN %s - interval '2 days' AND %s",
        (now, now),
    ).fetchall():
        names = ("visits", "saw a product", "saw the basket", "saw the checkout", "ordered")
        counted.update((channel, name) for name, is_so in zip(names, steps, strict=True) if is_so)
    assert set(visits) == {channel for channel, _ in counted}
    for channel, row in visits.items():
        assert row.pop("channel") == channel
        assert row.pop("visits") == (n := counted[channel, "visits"]) > 50
        for name, percent in row.items():
            assert float(percent) == pytest.approx(100 * counted[channel, name] / n, abs=0.051)
    (baskets,) = answer(shop, "optional", "Baskets", now, days=2)
    ((number, taken),) = shop.execute(
        "SELECT count(*) FILTER (WHERE order_id = basket_id), sum(coupon_discount) FROM baskets"
        " WHERE ordered_at > %s - interval '2 days'",
        (now,),
    ).fetchall()
    assert (baskets["baskets"], baskets["taken off by coupons"]) == (number, taken)
    (parcels,) = answer(shop, "optional", "Shipments", now, days=9)
    ((number, way, median, lost),) = shop.execute(
        "SELECT count(*), count(*) FILTER (WHERE s.status IN ('DISPATCHED', 'IN_TRANSIT')),"
        " percentile_cont(0.5) WITHIN GROUP (ORDER BY s.delivered_at - o.ordered_at),"
        " 1000.0 * count(lost_at) / count(*)"
        " FROM shipments AS s JOIN orders AS o USING (order_id)"
        " WHERE o.ordered_at > %s - interval '9 days'",
        (now,),
    ).fetchall()
    assert (parcels["dispatched"], parcels["on the way"]) == (number, way)
    days = median.total_seconds() / 86_400
    assert float(parcels["median days to delivery"]) == pytest.approx(days, abs=0.006)
    assert float(parcels["lost of a thousand"]) == pytest.approx(float(lost), abs=0.051)


def test_the_panels_of_the_whole_shop_are_near_it(shop: Connection, now: datetime) -> None:
    """They look at a part of the visits only."""
    found = answer(shop, "optional", BY_CHANNEL, now)
    funnel = {row["channel"]: row for row in rows(shop, question("saw_a_product"))}
    assert sum(row["visits"] for row in found) == pytest.approx(
        sum(row["visits"] for row in funnel.values()), rel=0.1
    )
    for row in found:
        truth = float(funnel[row["channel"]]["percent"])
        assert float(row["ordered"]) == pytest.approx(truth, abs=3.5)
    by_day = answer(shop, "optional", "Visits by day", now)
    assert sum(row["value"] for row in by_day) == pytest.approx(
        sum(row["visits"] for row in found), abs=len(by_day)
    )
    assert len({row["time"] for row in by_day}) > 80
    ((changes,),) = shop.execute(
        "SELECT count(*) FROM customer_changes WHERE kind <> 'SIGNED_UP' AND updated_at > %s",
        (now - timedelta(days=DAYS + 1),),
    ).fetchall()
    shown = answer(shop, "optional", "Changes of customers by day", now)
    assert sum(n for row in shown for name, n in row.items() if name != "time") == changes


@pytest.mark.parametrize("panel", OPTIONAL_PANELS)
def test_a_panel_of_a_topic_that_is_off_says_so(
    pg: Connection, now: datetime, panel: dict[str, Any]
) -> None:
    columns, found = ask(pg, panel, now)
    assert columns
    assert found == []
    word = panel["fieldConfig"]["defaults"]["noValue"].removeprefix("off: jangteo up --with ")
    assert word in SWITCHES
