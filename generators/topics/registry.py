"""The live source and the history of each optional topic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from generators.topics.baskets import BasketHistory, LiveBaskets
from generators.topics.customer_changes import CustomerChangesHistory, LiveCustomerChanges
from generators.topics.interface import LiveTopic, RunningShop, TopicHistory
from generators.topics.page_views import LivePageViews, PageViewHistory
from generators.topics.shipments import LiveShipments, ShipmentHistory

LIVE: Final[Mapping[str, Callable[[RunningShop], LiveTopic]]] = {
    "shipments": LiveShipments,
    "customer_changes": LiveCustomerChanges,
    "page_views": LivePageViews,
    "baskets": LiveBaskets,
}
HISTORY: Final[Mapping[str, Callable[[int], TopicHistory]]] = {
    "shipments": ShipmentHistory,
    "customer_changes": CustomerChangesHistory,
    "page_views": PageViewHistory,
    "baskets": BasketHistory,
}
"""Made with the seed of the shop."""
