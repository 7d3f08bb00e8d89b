"""Shipments: where the parcel of a paid order is."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias, get_args

from msgspec import Meta

from shop.optional.fields import Id, Instant, Revision
from shop.optional.topic import OptionalEvent, OptionalTopic

ShipmentStatus: TypeAlias = Literal["DISPATCHED", "IN_TRANSIT", "DELIVERED", "RETURNED", "LOST"]
Carrier: TypeAlias = Literal["HANBIT", "NARAE", "DURUMI"]
Region: TypeAlias = Literal[
    "SEOUL", "BUSAN", "DAEGU", "INCHEON", "GWANGJU", "DAEJEON", "ULSAN", "SEJONG", "GYEONGGI",
    "GANGWON", "CHUNGBUK", "CHUNGNAM", "JEONBUK", "JEONNAM", "GYEONGBUK", "GYEONGNAM", "JEJU",
]  # fmt: skip

SHIPMENT_STATUSES: Final[tuple[str, ...]] = get_args(ShipmentStatus)
CARRIERS: Final[tuple[str, ...]] = get_args(Carrier)
REGIONS: Final[tuple[str, ...]] = get_args(Region)


class Shipment(OptionalEvent, frozen=True, kw_only=True, gc=False):
    """The full state of a shipment at one step. Key: `user_id`.

    An order has one shipment, so `shipment_id` is its `order_id`. `rev` counts the steps: 1 is
    DISPATCHED; the highest `rev` wins. `region` is null where the customer's city is not known.
    Delivery is promised until the end of the day that many days after that of dispatch, in Seoul: a
    number, as the times of an event may not lie more than 24 hours ahead.
    """

    v: Literal[1]
    shipment_id: Id
    rev: Revision
    order_id: Id
    user_id: Id
    carrier: Carrier
    region: Region | None
    status: ShipmentStatus
    promised_days: Annotated[int, Meta(ge=0, le=99)]
    dispatched_at: Instant
    in_transit_at: Instant | None
    delivered_at: Instant | None
    returned_at: Instant | None
    lost_at: Instant | None
    updated_at: Instant


SHIPMENTS: Final = OptionalTopic(
    name="shipments",
    event=Shipment,
    id_field="shipment_id",
    key_field="user_id",
    switch="shipments",
    revised=True,
    purpose="parcels of paid orders: dispatched, in transit, delivered, returned or lost",
    narrow={"rev": "smallint", "promised_days": "smallint"},
)
