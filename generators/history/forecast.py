"""How large a history will be, before it is written: rows, bytes and minutes.

The model of customers says how many there will be. Bytes and seconds a row are estimates for two
cores, of the right order of magnitude.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from generators.behaviour import catalogue, customer_model
from generators.history.listings import AT_OPENING as STOCK
from generators.history.sign_ups import AT_OPENING

ORDER_BYTES: Final = 380
"""An order with its spend window, and the indexes of both."""
CUSTOMER_BYTES: Final = 310
"""A customer, with its place in `simulation.customers`, and the indexes of both."""
ORDER_US: Final = 8.0
CUSTOMER_US: Final = 6.0
DAY_S: Final = 0.05
"""A day costs so much for its blocks, however few its orders."""


@dataclass(frozen=True)
class Forecast:
    """What a history will have.

    Attributes:
        orders: rows of orders.
        customers: rows of users.
        products: rows of products.
        gigabytes: in PostgreSQL, 10^9 bytes.
        minutes: to write it into PostgreSQL on this machine.
    """

    orders: int
    customers: int
    products: int
    gigabytes: float
    minutes: float


def forecast(days: int, orders_per_day: int) -> Forecast:
    """Return what to expect.

    >>> year = forecast(365, 21_600)
    >>> year.orders, round(year.customers / 1e6, 1), year.products
    (7884000, 5.8, 30200)
    """
    scale = orders_per_day / customer_model.ORDERS_PER_DAY
    customers = AT_OPENING * scale
    for _ in range(days * 24):  # by the hour: at first the rate falls within a day
        customers += float(customer_model.sign_up_rate(int(customers), orders_per_day)[0]) * 3_600
    orders = days * orders_per_day
    return Forecast(
        orders,
        round(customers),
        STOCK + round(days * catalogue.LISTED_PER_DAY * scale),
        (orders * ORDER_BYTES + customers * CUSTOMER_BYTES) / 1e9,
        (orders * ORDER_US / 1e6 + customers * CUSTOMER_US / 1e6 + days * DAY_S) / 60,
    )
