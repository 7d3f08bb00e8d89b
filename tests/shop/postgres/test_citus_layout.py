"""The layout for Citus in the scaling guide: PostgreSQL parses it, and plans the ingest on it."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import psycopg
import pytest

from flows import statements
from shop.postgres import Connection
from tests.support.layouts import both_layouts

GUIDE = Path(__file__).parents[3] / "docs" / "scaling.md"
# Citus's documentation: each unique index has the distribution column, and a distributed table has
# no trigger.
STAND_IN = """
CREATE FUNCTION create_distributed_table(
    table_name regclass, distribution_column text, colocate_with text DEFAULT 'default'
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_index WHERE indrelid = table_name AND indisunique AND NOT EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = table_name AND attnum = ANY (indkey)
              AND attname = distribution_column)) THEN
        RAISE 'a unique key of % lacks %', table_name, distribution_column;
    END IF;
    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = table_name AND NOT tgisinternal) THEN
        RAISE '% has a trigger', table_name;
    END IF;
    IF colocate_with <> 'default' THEN
        PERFORM colocate_with::regclass;
    END IF;
END
$$
"""


def layout_of_the_guide() -> list[str]:
    text = GUIDE.read_text(encoding="utf-8")
    (block,) = re.findall(r"^ *```sql citus\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [part for part in textwrap.dedent(block).split(";\n") if part.strip()]


@both_layouts
def test_the_layout_is_taken_and_the_ingest_is_planned_on_it(pg: Connection) -> None:
    pg.execute(STAND_IN)
    for statement in layout_of_the_guide():
        pg.execute(statement.encode())
    pg.execute(statements.session("orders").encode())
    merged = statements.MERGE_ORDERS
    assert "ON CONFLICT (order_id)" in merged
    with pytest.raises(psycopg.errors.InvalidColumnReference):
        pg.execute(f"EXPLAIN {merged}".encode(), ([],))
    for planned, parameters in (
        (merged.replace("ON CONFLICT (order_id)", "ON CONFLICT (user_id, order_id)"), ([],)),
        (statements.MERGE_USERS, ()),
        (statements.MERGE_WINDOWS, ()),
        (statements.FAST_MERGE_WINDOWS, ()),
        (statements.MERGE_PROFILES["users"], ()),
    ):
        assert pg.execute(f"EXPLAIN {planned}".encode(), parameters).fetchall()


@pytest.mark.parametrize("left_out", ["DROP TRIGGER", "ALTER TABLE"])
def test_what_citus_would_refuse_is_refused(pg: Connection, left_out: str) -> None:
    pg.execute(STAND_IN)
    kept = [part for part in layout_of_the_guide() if not part.startswith(left_out)]
    with pytest.raises(psycopg.errors.RaiseException, match=r"unique key|trigger"):
        pg.execute(";".join(kept).encode())
