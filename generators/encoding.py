"""Events as columns -> messages: key and JSON of each row, a million rows a second."""

from __future__ import annotations

from typing import TypeAlias

import polars as pl

from shop.model import KEY_FIELD, SCHEMAS, VERSION

Message: TypeAlias = tuple[bytes, bytes]
"""(Key, value) of a message."""


def encode_frame(topic: str, frame: pl.DataFrame) -> list[Message]:
    """Return the messages of a topic's events, in their order.

    Args:
        topic: users, products or orders.
        frame: with the columns of `SCHEMAS[topic]`.
    """
    if frame.is_empty():
        return []
    times = [name for name, kind in SCHEMAS[topic].items() if isinstance(kind, pl.Datetime)]
    wire = frame.select(
        pl.lit(VERSION).alias("v"),
        *SCHEMAS[topic],
    ).with_columns(pl.col(times).dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ"))
    values = wire.write_ndjson().encode().split(b"\n")[: frame.height]
    keys = [b"%d" % key for key in frame[KEY_FIELD[topic]].to_list()]
    return list(zip(keys, values, strict=True))
