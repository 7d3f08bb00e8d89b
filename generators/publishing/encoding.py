"""Events as columns -> messages: key and JSON of each row, a million rows a second."""

from __future__ import annotations

import io
from typing import TypeAlias

import polars as pl

from shop.events import KEY_FIELD, SCHEMAS, VERSION

Message: TypeAlias = tuple[bytes, bytes]
"""(Key, value) of a message."""


def encode_frame(topic: str, frame: pl.DataFrame) -> list[Message]:
    """Return the messages of a topic's events, in their order.

    Args:
        topic: users, products or orders.
        frame: with the columns of `SCHEMAS[topic]`.
    """
    return list(zip(*encode_columns(topic, frame), strict=True))


def encode_columns(topic: str, frame: pl.DataFrame) -> tuple[list[bytes], list[bytes]]:
    """Return the keys and the values of a topic's events; see `encode_frame`."""
    if frame.is_empty():
        return [], []
    times = [name for name, kind in SCHEMAS[topic].items() if isinstance(kind, pl.Datetime)]
    wire = frame.select(pl.lit(VERSION).alias("v"), *SCHEMAS[topic])
    buffer = io.BytesIO()
    wire.with_columns(_written(frame, times)).write_ndjson(buffer)
    values = buffer.getvalue().split(b"\n")
    values.pop()  # what follows the last line break: nothing
    keys = frame[KEY_FIELD[topic]].cast(pl.String).cast(pl.Binary).to_list()
    return keys, values


def _written(frame: pl.DataFrame, times: list[str]) -> list[pl.Series]:
    """Return time columns as text; equal ones are written once, as that costs a fifth of all."""
    written: list[pl.Series] = []
    for name in times:
        column = frame[name]
        same = (w for w in written if frame[w.name].equals(column))
        text = next(same, None)
        written.append(
            column.dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ") if text is None else text.alias(name)
        )
    return written
