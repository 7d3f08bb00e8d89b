import hashlib
from datetime import datetime, timezone

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.behaviour import catalogue, korean_people, population
from generators.random_streams import stream
from shop import events
from shop.clock import KST
from shop.ids import EPOCH_MS, ids_at

NOW = datetime(2026, 11, 23, tzinfo=timezone.utc)
START_MS = int(NOW.timestamp() * 1000) - 100_000_000
KINDS = {
    "users": (population.users, population.USER_DRAWS),
    "products": (population.products, population.PRODUCT_DRAWS),
}


def rows(kind: str, n: int, seed: int = 1) -> pl.DataFrame:
    make, draws = KINDS[kind]
    ids = ids_at(np.arange(n, dtype=np.int64) + START_MS - EPOCH_MS)
    return make(stream(seed, kind).random((n, draws)), ids)


@pytest.fixture(scope="module")
def users() -> pl.DataFrame:
    return rows("users", 40_000)


@pytest.fixture(scope="module")
def products() -> pl.DataFrame:
    return rows("products", 40_000)


@pytest.mark.parametrize("kind", list(KINDS))
def test_columns_are_those_of_the_contract_without_nulls(kind: str):
    frame = rows(kind, 1_000)
    assert dict(frame.schema) == events.SCHEMAS[kind]
    assert frame.null_count().sum_horizontal().item() == 0
    assert frame[events.ID_FIELD[kind]].n_unique() == 1_000


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_row_is_an_event_that_the_ingest_takes(kind: str):
    for row in rows(kind, 500).iter_rows(named=True):
        event = events.TOPICS[kind](v=1, **row)
        key = events.key_of(kind, event)
        assert events.decode(kind, key, events.encode(event), now=NOW) == event


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_same_numbers_give_the_same_rows(kind: str):
    assert rows(kind, 200, seed=5).equals(rows(kind, 200, seed=5))
    names = rows(kind, 200, seed=5)["name"].to_list()
    assert names != rows(kind, 200, seed=6)["name"].to_list()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_drawing_alone_or_together_makes_no_difference(parts: list[int]):
    n = sum(parts)
    ids = ids_at(np.arange(n, dtype=np.int64) + START_MS - EPOCH_MS)
    together = population.users(stream(2, "x").random((n, population.USER_DRAWS)), ids)
    rng, pieces, start = stream(2, "x"), [], 0
    for part in parts:
        u = rng.random((part, population.USER_DRAWS))
        pieces.append(population.users(u, ids[start : start + part]))
        start += part
    assert pl.concat(pieces).equals(together)


def test_nobody_can_be_reached(users: pl.DataFrame):
    addresses = users["email"]
    assert addresses.str.contains(r"^[a-z]+\.[a-z]+\.[0-9a-z]+@example\.(com|net|org)$").all()
    assert addresses.n_unique() == users.height


def test_there_are_229_cities_each_once():
    assert len(population.cities()) == 229
    assert sum(len(text.split()) // 2 for text in korean_people.CITIES.values()) == 229
    assert {"서울 노원구", "울산 울주군", "경기 안산시", "제주 서귀포시"} <= population.cities()
    assert not {"울산 노원구", "제주 안산시"} & population.cities()


def test_people_live_in_true_places_by_population(users: pl.DataFrame):
    assert set(users["city"]) <= population.cities()
    provinces = users["city"].str.split(" ").list.first()
    assert (provinces == "경기").mean() == pytest.approx(0.268, abs=0.01)
    assert (provinces == "서울").mean() == pytest.approx(0.183, abs=0.01)


def test_surnames_are_as_frequent_as_in_korea(users: pl.DataFrame):
    names = users["name"]
    for surname, percent in (("김", 21.5), ("이", 14.7), ("박", 8.4), ("최", 4.7)):
        assert names.str.starts_with(surname).mean() * 100 == pytest.approx(percent, abs=1.0)
    assert names.str.contains(r"^[가-힣]{3,4}$").all()


def test_genders_and_ages(users: pl.DataFrame):
    assert (users["gender"] == "F").mean() == pytest.approx(0.55, abs=0.01)
    age = NOW.year - users["birth_year"]
    assert age.min() == 20
    assert age.max() == 79
    bands = [(20, 29, 0.20), (30, 39, 0.29), (40, 49, 0.27), (50, 59, 0.17), (60, 79, 0.07)]
    for low, high, share in bands:
        assert age.is_between(low, high).mean() == pytest.approx(share, abs=0.01)


def test_given_names_follow_the_generation(users: pl.DataFrame):
    young = users.filter((pl.col("birth_year") >= 2000) & (pl.col("gender") == "F"))["name"]
    old = users.filter((pl.col("birth_year") < 1960) & (pl.col("gender") == "F"))["name"]
    assert young.str.ends_with("유진").mean() > 10 * old.str.ends_with("유진").mean()
    assert old.str.ends_with("영숙").mean() > 10 * young.str.ends_with("영숙").mean()


def test_prices_end_as_korean_shops_write_them(products: pl.DataFrame):
    price = products["price"]
    assert (price % 100 == 0).all()
    assert price.min() >= catalogue.CHEAPEST
    assert price.max() <= catalogue.DEAREST
    assert (price % 1_000).is_in([0, 900]).mean() > 0.7
    assert (price.filter(price >= 100_000) % 10_000).is_in([0, 9_000, 9_900]).all()


def test_a_price_is_the_item_s_at_the_brand_s_level(products: pl.DataFrame):
    item = pl.col("name").str.split(" ").list.get(2).alias("item")
    by_item = products.group_by("category", item).agg(
        pl.col("price").log().mean().alias("log"), pl.len().alias("n")
    )
    usual = {(c.label, i.name): i.price for c in catalogue.CATEGORIES for i in c.items}
    assert by_item.height == len(usual)
    for category, name, mean, n in by_item.iter_rows():
        spread = (catalogue.PRICE_SPREAD + catalogue.BRAND_LEVEL) / n**0.5
        assert mean == pytest.approx(np.log(usual[category, name]), abs=5 * spread), name
    for kind in catalogue.CATEGORIES:
        of_kind = products.filter(pl.col("category") == kind.label)
        assert of_kind.height / products.height == pytest.approx(kind.share, abs=0.01)
        level = dict(of_kind.group_by("brand").agg(pl.col("price").log().mean()).iter_rows())
        assert level[kind.brands[-1]] - level[kind.brands[0]] > catalogue.BRAND_LEVEL
    assert sum(kind.share for kind in catalogue.CATEGORIES) == pytest.approx(1)


def test_what_sells_in_summer_is_listed_before_it():
    days = np.repeat(np.arange(365, dtype=np.int64), 60)
    ms = int(datetime(2025, 1, 1, tzinfo=KST).timestamp() * 1_000) + days * 86_400_000 - EPOCH_MS
    u = stream(1, "year").random((len(ms), population.PRODUCT_DRAWS))
    fans = population.products(u, ids_at(ms)).filter(pl.col("name").str.contains("선풍기"))
    month = fans["created_at"].dt.convert_time_zone("Asia/Seoul").dt.month()
    assert month.is_in([5, 6, 7, 8]).sum() > 4 * month.is_in([11, 12, 1, 2]).sum()


def test_an_order_is_worth_what_orders_are_worth_in_korea(products: pl.DataFrame):
    mean_quantity = 1.47
    assert 55_000 < products["price"].mean() * mean_quantity < 78_000


def test_a_product_is_called_by_its_brand(products: pl.DataFrame):
    brands = {kind.label: set(kind.brands) for kind in catalogue.CATEGORIES}
    for row in products.head(2_000).iter_rows(named=True):
        assert row["brand"] in brands[row["category"]]
        assert row["name"].startswith(row["brand"] + " ")
    every = [brand for kind in catalogue.CATEGORIES for brand in kind.brands]
    assert len(every) == len(set(every))


def test_the_people_of_seed_1_stay_the_same():
    names = "".join(rows("users", 1_000)["name"]) + "".join(rows("products", 1_000)["category"])
    assert hashlib.sha256(names.encode()).hexdigest() == (
        "0697ba4afa139e6e0d46099d2fc4462148bc18ca08218f493a621b831c69ed83"
    )


def test_romanise_refuses_what_is_not_hangul():
    with pytest.raises(ValueError, match="Hangul"):
        korean_people.romanise("김a")
