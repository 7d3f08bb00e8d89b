"""Write models/staging/sources.yml: the shop's tables as dbt sources, described by their COMMENTs.

`python deploy/dbt/sources.py` after a migration, on a shop whose schema is up to date; a test holds
that the file is what it writes. YAML holds JSON, so no YAML library is needed to write it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from shop import postgres, settings
from shop.optional.registry import TABLES as OPTIONAL_TABLES
from shop.postgres import Connection

FILE: Final = Path(__file__).parent / "models" / "staging" / "sources.yml"
TABLES: Final = (
    *("users", "products", "orders", "user_spend_windows", "grade_history", "grade_runs"),
    *OPTIONAL_TABLES,
    *("order_prices", "basket_lines"),
    *("sales_by_hour", "sales_by_product", "sales_by_category", "sales_by_payment_method"),
    *("sales_by_cohort", "sign_ups_by_day", "grade_moves_by_day", "ingest_offsets"),
    *("rejected_messages", "detached_spend", "detached_sales"),
)
"""What analysts read."""
_LOADED: Final = """
SELECT coalesce(
    (SELECT max(updated_at) FROM {{{{ source('shop', 'ingest_offsets') }}}}
     WHERE topic = '{topic}'),
    (SELECT max(finished_at) FROM {{{{ source('shop', 'ingest_offsets').schema }}}}.backfill_runs),
    (SELECT max(changed_at) FROM {{{{ source('shop', '{topic}') }}}}))
"""
"""When a topic was last stored: from twelve rows, as changed_at is on no index."""
_FRESHNESS: Final = {"orders": ("minute", 15, 60), "users": ("hour", 1, 24),
                     "products": ("hour", 6, 72)}  # fmt: skip
"""Unit, and after how many of it a source gets a warning and an error; orders come every 4 s."""
_COLUMNS: Final = """
SELECT attname, col_description(attrelid, attnum), format_type(atttypid, atttypmod)
FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
ORDER BY attname IN ('ingested_at', 'changed_at'), attnum
"""


def as_yaml(conn: Connection) -> str:
    """Return the sources as YAML.

    Args:
        conn: to a database whose schema is this version's.
    """
    tables = [f"      - {_lines(_table(conn, name), 8)}" for name in TABLES]
    return "\n".join([
        "# Written by sources.py from the COMMENTs of deploy/sql.",
        "sources:",
        "  - name: shop",
        "    schema: public",
        "    description: The shop's own tables, which the ingest and the grader write.",
        "    tables:",
        *tables,
        "",
    ])  # fmt: skip


def _table(conn: Connection, name: str) -> dict[str, Any]:
    ((described,),) = conn.execute("SELECT obj_description(to_regclass(%s))", (name,)).fetchall()
    table: dict[str, Any] = {"name": name, "description": described}
    if name in _FRESHNESS:
        unit, warn, error = _FRESHNESS[name]
        table["config"] = {
            "loaded_at_query": " ".join(_LOADED.format(topic=name).split()),
            "freshness": {
                "warn_after": {"count": warn, "period": unit},
                "error_after": {"count": error, "period": unit},
            },
        }
    table["columns"] = [
        {"name": column, "description": about, "data_type": kind}
        for column, about, kind in conn.execute(_COLUMNS, (name,)).fetchall()
    ]
    return table


def _lines(table: dict[str, Any], indent: int) -> str:
    """Return a mapping as lines of YAML, each value as JSON, each column on a line of its own."""
    lines = []
    for key, value in table.items():
        if key == "columns":
            columns = (f"  - {json.dumps(c, ensure_ascii=False)}" for c in value)
            lines += ["columns:", *columns]
        else:
            lines.append(f"{key}: {json.dumps(value, ensure_ascii=False)}")
    return f"\n{' ' * indent}".join(lines)


def main() -> None:
    """Write the file from the database that the environment, or the running stack, names."""
    reached = settings.load(dict(os.environ)).postgres
    with postgres.connect(reached, "dbt-sources", autocommit=True) as conn:
        FILE.write_text(as_yaml(conn), encoding="utf-8")


if __name__ == "__main__":
    main()
