"""What follows from events of optional topics: the tables that are derived from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import polars as pl

from shop.postgres import Cursor

Follow: TypeAlias = Callable[[Cursor, pl.DataFrame, pl.DataFrame], None]
"""Called in the transaction of a batch with the events that are stored, in the order of the log,
and with the rows of their ids before; writes what else follows from them."""

FOLLOWS: Final[Mapping[str, Follow]] = {}
"""Topic -> what fills its derived tables (`OptionalTopic.derived`)."""
