"""Page views: what customers look at in the shop, and which visits lead to orders."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

from shop.optional.fields import Id, Instant, Slug
from shop.optional.topic import OptionalEvent, OptionalTopic

Page: TypeAlias = Literal[
    "HOME", "CATEGORY", "SEARCH", "PRODUCT", "ORDERS", "SIGN_UP", "BASKET", "CHECKOUT"
]
Channel: TypeAlias = Literal["DIRECT", "SEARCH", "SOCIAL", "EMAIL", "AD"]
Device: TypeAlias = Literal["MOBILE", "DESKTOP", "TABLET"]

PAGES: Final[tuple[str, ...]] = get_args(Page)
CHANNELS: Final[tuple[str, ...]] = get_args(Channel)
DEVICES: Final[tuple[str, ...]] = get_args(Device)


class PageView(OptionalEvent, frozen=True, kw_only=True, gc=False):
    """A customer looked at a page. Key: `user_id`.

    `session_id` is the `view_id` of the first view of the visit; channel and device are those of
    the visit. `product_id` is set on PRODUCT pages, `order_id` on the CHECKOUT that placed the
    order, `referrer` on the first view of a visit that came from elsewhere.
    """

    v: Literal[1]
    view_id: Id
    session_id: Id
    user_id: Id
    page: Page
    product_id: Id | None
    order_id: Id | None
    channel: Channel
    device: Device
    referrer: Slug | None
    viewed_at: Instant


PAGE_VIEWS: Final = OptionalTopic(
    name="page_views",
    event=PageView,
    id_field="view_id",
    key_field="user_id",
    switch="visits",
    revised=False,
    purpose="pages that customers look at, in visits that lead to orders or not",
    time_field="viewed_at",
)
