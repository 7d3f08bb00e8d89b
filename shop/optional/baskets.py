"""Baskets: which orders a customer placed on one day, and what a coupon took off each."""

from __future__ import annotations

from typing import Final, Literal

from shop.optional.fields import Id, Instant, Krw, Slug
from shop.optional.topic import OptionalEvent, OptionalTopic


class BasketLine(OptionalEvent, frozen=True, kw_only=True, gc=False):
    """The basket of an order. Key: `user_id`. Money in KRW.

    `basket_id` is the first order of the customer's day, so a basket has one line for each order of
    that day. `coupon_discount` is the part of the order's `discount` that the coupon explains, 0
    where there is no coupon.
    """

    v: Literal[1]
    order_id: Id
    basket_id: Id
    user_id: Id
    coupon: Slug | None
    coupon_discount: Krw
    ordered_at: Instant


BASKETS: Final = OptionalTopic(
    name="baskets",
    event=BasketLine,
    id_field="order_id",
    key_field="user_id",
    switch="baskets",
    revised=False,
    purpose="the orders that a customer placed on one day, with the coupon of that basket",
    time_field="ordered_at",
)
