"""Rows in the binary format, as the server reads them."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shop import postgres
from shop.clock import UTC
from shop.postgres import Connection
from shop.postgres.binary_copy import NARROW, binary

_WIDTHS = {"smallint": pl.Int16(), "integer": pl.Int32()}

_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)
_big = st.integers(-(2**63), 2**63 - 1)
_times = st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31))  # noqa: DTZ001  (made UTC below)


@hypothesis_settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(
        st.tuples(
            _big, _texts, st.integers(-(2**15), 2**15 - 1), st.integers(-(2**31), 2**31 - 1),
            _texts | st.none(), _times.map(lambda t: t.replace(tzinfo=UTC)),
        )
    )
)  # fmt: skip
def test_what_is_written_is_what_is_read(
    pg: Connection, rows: list[tuple[int, str, int, int, str | None, datetime]]
) -> None:
    names = ["order_id", "status", "rev", "quantity", "scenario", "ordered_at"]
    kinds = [pl.Int64, pl.String, pl.Int64, pl.Int64, pl.String, pl.Datetime("us", "UTC")]
    frame = pl.DataFrame(rows, schema=dict(zip(names, kinds, strict=True)), orient="row")
    with pg.transaction(force_rollback=True), pg.cursor() as cur:
        cur.execute(
            "CREATE TEMP TABLE copied (order_id bigint, status text, rev smallint,"
            " quantity integer, scenario text, ordered_at timestamptz)"
        )
        postgres.copy_into(cur, "copied", binary(frame, "orders"))
        assert cur.execute("SELECT * FROM copied ORDER BY ctid").fetchall() == rows


def test_numbers_are_as_wide_as_the_columns_of_the_tables(pg: Connection) -> None:
    for table, narrow in NARROW.items():
        found = pg.execute(
            "SELECT column_name::text, data_type::text FROM information_schema.columns"
            " WHERE table_name = %s",
            (table,),
        ).fetchall()
        assert {c: _WIDTHS[kind] for c, kind in found if kind in _WIDTHS} == narrow, table


def test_a_number_that_is_too_large_is_an_error_and_not_another_number() -> None:
    frame = pl.DataFrame({"order_id": [1], "rev": [2**15]})
    with pytest.raises(pl.exceptions.InvalidOperationError, match="rev"):
        binary(frame, "orders")


@pytest.mark.parametrize(
    "column", [pl.Series("user_id", [1, None]), pl.Series("user_id", [True, False])]
)
def test_what_the_format_cannot_say_is_refused(column: pl.Series) -> None:
    with pytest.raises(ValueError, match="user_id is"):
        binary(column.to_frame(), "orders")
