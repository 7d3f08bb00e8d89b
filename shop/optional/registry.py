"""The optional topics that there are; a topic is added to `_ALL`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from shop.optional.baskets import BASKETS
from shop.optional.customer_changes import CUSTOMER_CHANGES
from shop.optional.page_views import PAGE_VIEWS
from shop.optional.shipments import SHIPMENTS
from shop.optional.topic import OptionalTopic

_ALL: Final = (SHIPMENTS, CUSTOMER_CHANGES, PAGE_VIEWS, BASKETS)

OPTIONAL: Final[Mapping[str, OptionalTopic]] = {topic.name: topic for topic in _ALL}
"""The optional topics by name, in the order in which the shop shows, locks and empties them."""
TABLES: Final = tuple(name for topic in _ALL for name in (topic.name, *topic.derived))
"""The tables that the ingest fills from them."""
SWITCHES: Final[tuple[str, ...]] = tuple(dict.fromkeys(topic.switch for topic in _ALL))
"""The words of ``--with``."""


def switches_of(topics: Iterable[str]) -> str:
    """Return the value of ``--with`` that brings topics.

    >>> switches_of(["shipments"])
    'shipments'
    """
    return ",".join(dict.fromkeys(OPTIONAL[name].switch for name in topics))


def topics_of(switches: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the topics that words of ``--with`` bring, in the order of `OPTIONAL`.

    >>> topics_of(["shipments"])
    ('shipments',)
    """
    wanted = set(switches)
    return tuple(name for name, topic in OPTIONAL.items() if topic.switch in wanted)
