"""Read columns of PostgreSQL by COPY: no Python object for each row.

The server adds up per customer, so what comes over grows with the customers, not with the orders:
a row that is sent costs a hundred times one that is added to a sum, and the server adds up on all
its cores. Measured with 10 million orders of a million customers: see docs/grading.md.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, Final, LiteralString

import numpy as np
import numpy.typing as npt
import polars as pl

from grading import grades
from shop.postgres import Cursor

PART_ROWS: Final = 2_000_000
"""Rows that are taken in at once: 52 MB of COPY data, whatever the number of customers."""
SORT_MEMORY: Final = "SET LOCAL work_mem = '96MB'"
"""What one sum per customer takes, of a million customers, without going through files."""

_ROW: Final = np.dtype(
    [("fields", ">i2"), ("len0", ">i4"), ("user_id", ">i8"), ("len1", ">i4"), ("spend", ">i8")]
)
"""A row of two non-null bigints in PostgreSQL's binary COPY format (docs, COPY, "Binary Format"):
26 bytes, always, so that numpy reads it without parsing."""
_HEADER_BYTES: Final = 19  # signature 11, flags 4, header extension length 4 (of 0 bytes)


def spend(cur: Cursor, query: LiteralString, parameters: tuple[Any, ...] = ()) -> pl.DataFrame:
    """Return the spend frame that a query finds.

    Args:
        cur: in a transaction.
        query: of two bigints, user_id and KRW, not null; a customer may have several rows.
        parameters: of the query.
    """
    found = []
    for part in _parts(cur, query, parameters):
        columns = {"user_id": part["user_id"], "cumulative_spend": part["spend"]}
        found.append(pl.DataFrame({n: c.astype(np.int64) for n, c in columns.items()}))
    return grades.total(found)


def _parts(
    cur: Cursor, query: LiteralString, parameters: tuple[Any, ...]
) -> Iterator[npt.NDArray[np.void]]:
    """Yield the rows in parts of at most about `PART_ROWS`."""
    pending = bytearray()
    skip = _HEADER_BYTES
    with cur.copy(f"COPY ({query}) TO STDOUT WITH (FORMAT binary)", parameters) as copy:
        for block in copy:
            pending += block
            if len(pending) >= skip + PART_ROWS * _ROW.itemsize:
                rows = (len(pending) - skip) // _ROW.itemsize
                yield np.frombuffer(bytes(pending), _ROW, rows, skip)
                del pending[: skip + rows * _ROW.itemsize]
                skip = 0
    # What is left ends with the trailer, two bytes: never a whole row.
    yield np.frombuffer(bytes(pending), _ROW, (len(pending) - skip) // _ROW.itemsize, skip)


def rows(
    cur: Cursor, query: LiteralString, parameters: dict[str, Any], schema: dict[str, pl.DataType]
) -> pl.DataFrame:
    """Return the rows of a query whose columns are not null.

    Args:
        cur: in a transaction.
        query: its columns in the order of the schema.
        parameters: of the query.
        schema: of the frame.
    """
    buffer = io.BytesIO()
    with cur.copy(f"COPY ({query}) TO STDOUT WITH (FORMAT csv)", parameters) as copy:
        for block in copy:
            buffer.write(block)
    if not buffer.tell():
        return pl.DataFrame(schema=schema)
    buffer.seek(0)
    return pl.read_csv(buffer, has_header=False, schema=schema)
