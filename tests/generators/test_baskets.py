import math

import numpy as np
import pytest
from generating import cached_product
from hypothesis import given
from hypothesis import strategies as st

from generators import baskets
from generators.streams import stream

COUNT = 40_000


@pytest.fixture(scope="module")
def filled() -> list[baskets.Basket]:
    made = baskets.Baskets(stream(1, "baskets"))
    popular = [cached_product(i, orders=1_000 // i) for i in range(1, 701)]
    made.load([*popular, *(cached_product(i, popular=False) for i in range(701, 1_001))])
    return made.next(COUNT)


def near(share: float) -> object:
    return pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / COUNT))


def test_quantities(filled: list[baskets.Basket]):
    quantity = np.array([b.quantity for b in filled])
    for units, share in ((1, 0.72), (2, 0.17), (3, 0.06), (4, 0.03)):
        assert (quantity == units).mean() == near(share)
    assert (quantity >= 5).mean() == near(0.02)


def test_payments(filled: list[baskets.Basket]):
    for method, share in baskets.PAYMENTS.items():
        assert np.mean([b.payment_method == method for b in filled]) == near(share)
    assert sum(baskets.PAYMENTS.values()) == pytest.approx(1)


def test_most_orders_have_no_discount_and_none_is_larger_than_the_price(
    filled: list[baskets.Basket],
):
    assert np.mean([b.discount == 0 for b in filled]) == near(0.78)
    assert all(0 < b.amount <= b.quantity * b.product.price for b in filled)
    assert all(b.discount % 10 == 0 for b in filled)


def test_new_products_get_their_share_and_popular_ones_by_their_orders(
    filled: list[baskets.Basket],
):
    assert np.mean([not b.product.popular for b in filled]) == near(baskets.NEW_SHARE)
    orders = np.bincount([b.product.product_id for b in filled], minlength=1_001)
    assert orders[1] > orders[10] > orders[100]
    expected = (1_001 / 101) ** baskets.POPULARITY_POWER
    assert orders[1] / orders[10] == pytest.approx(expected, rel=0.15)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10**6)), min_size=1, max_size=50))
def test_weights_are_shares_whatever_the_cache_holds(rows: list[tuple[bool, int]]):
    products = [cached_product(i, popular=p, orders=o) for i, (p, o) in enumerate(rows)]
    weights = baskets.weights(products)
    assert weights.sum() == pytest.approx(1)
    assert (weights > 0).all()


@given(st.integers(0, 10**6), st.integers(0, 2**32))
def test_any_price_gives_a_valid_amount(price: int, seed: int):
    made = baskets.Baskets(stream(seed, "b"))
    made.load([cached_product(1, price=price)])
    for basket in made.next(20):
        assert 0 <= basket.discount <= basket.quantity * price
        assert basket.amount == basket.quantity * price - basket.discount
