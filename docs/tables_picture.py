"""Draw the tables of the shop's database and how they refer to each other, as SVG.

The columns are those of a database that `jangteo init` made. `UPDATE_PICTURES=1 make test
ARGS=tests/test_docs.py` writes `docs/images/tables.svg` again after a migration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from shop.postgres import Connection

GROUPS: Final[Sequence[tuple[str, Sequence[str]]]] = (
    ("Who and what", ("users", "products")),
    ("What they bought", ("orders", "user_spend_windows")),
    ("Grades", ("grade_history", "grade_runs", "grade_state")),
    (
        "Rollups",
        (
            *("sales_by_hour", "sales_by_product", "sales_by_category", "sales_by_payment_method"),
            *("sales_by_cohort", "sign_ups_by_day", "grade_moves_by_day"),
        ),
    ),
    ("Kafka", ("ingest_offsets", "rejected_messages", "node_leases")),
)
"""The columns of the picture, from left to right; other tables are the processes' own."""
REFERS: Final[Mapping[str, str]] = {"user_id": "users", "product_id": "products"}
"""Column -> table whose key it holds. There are no foreign keys: messages arrive in any order."""
_WIDTH, _GAP, _ROW, _TOP = 236, 64, 17, 56
_SHORT: Final = {
    "timestamp with time zone": "timestamptz",
    "character varying": "varchar",
    "double precision": "float8",
    "smallint": "int2",
    "integer": "int4",
    "bigint": "int8",
}


@dataclass(frozen=True)
class Column:
    """A column of a table: its name, its type, and whether it is part of the primary key."""

    name: str
    type: str
    is_key: bool


def tables(connection: Connection) -> dict[str, list[Column]]:
    """Return the columns of all tables of the schema `public`, in their order."""
    rows = connection.execute(
        "SELECT c.relname, a.attname, format_type(a.atttypid, NULL),"
        " coalesce(a.attnum = ANY (i.indkey), false)"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
        " AND NOT a.attisdropped"
        " LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
        " AND NOT c.relispartition ORDER BY c.relname, a.attnum"
    ).fetchall()
    found: dict[str, list[Column]] = {}
    for table, name, type_, is_key in rows:
        found.setdefault(table, []).append(Column(name, _SHORT.get(type_, type_), is_key))
    return found


def picture(connection: Connection) -> str:
    """Return the picture of a database."""
    there = tables(connection)
    places: dict[str, tuple[int, int]] = {}
    boxes: list[str] = []
    height = 0
    for i, (title, names) in enumerate(GROUPS):
        x, y = 16 + i * (_WIDTH + _GAP), _TOP
        boxes.append(f'<text x="{x}" y="34" font-size="15" fill="#555">{escape(title)}</text>')
        for name in names:
            places[name] = (x, y)
            boxes += _box(name, there[name], x, y)
            y += _ROW * (len(there[name]) + 2) + 14
        height = max(height, y)
    lines = [
        line
        for name in (*GROUPS[1][1], *GROUPS[2][1])
        for line in _arrows(name, there[name], places)
    ]
    width = 16 + len(GROUPS) * (_WIDTH + _GAP) - _GAP + 16
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="12" role="img">'
    )
    ground = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    title = "<title>The tables of the shop</title>"
    return "\n".join([head, title, ground, *lines, *boxes, "</svg>"]) + "\n"


def _box(name: str, columns: Sequence[Column], x: int, y: int) -> Iterator[str]:
    height = _ROW * (len(columns) + 1) + 10
    yield (
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{height}" rx="4" fill="#f6f8f8" '
        'stroke="#00796b"/>'
    )
    yield f'<path d="M{x} {y + _ROW + 5}h{_WIDTH}" stroke="#00796b"/>'
    yield f'<text x="{x + 8}" y="{y + 16}" font-weight="bold" fill="#004d40">{escape(name)}</text>'
    for i, column in enumerate(columns):
        below = y + _ROW * (i + 2) + 3
        bold = ' font-weight="bold"' if column.is_key else ""
        yield f'<text x="{x + 8}" y="{below}"{bold} fill="#222">{escape(column.name)}</text>'
        yield (
            f'<text x="{x + _WIDTH - 8}" y="{below}" text-anchor="end" fill="#888">'
            f"{escape(column.type)}</text>"
        )


def _arrows(
    name: str, columns: Sequence[Column], places: Mapping[str, tuple[int, int]]
) -> Iterator[str]:
    """Draw a curve from each column that refers to another table to that table's name."""
    x, y = places[name]
    for i, column in enumerate(columns):
        if (target := REFERS.get(column.name)) is None:
            continue
        to_x, to_y = places[target][0] + _WIDTH, places[target][1] + 11
        from_y = y + _ROW * (i + 2) - 1
        bend = _GAP // 2
        yield (
            f'<path d="M{x} {from_y}C{x - bend} {from_y} {to_x + bend} {to_y} {to_x} {to_y}" '
            'fill="none" stroke="#d2691e" stroke-width="1.4"/>'
        )
        yield f'<circle cx="{to_x}" cy="{to_y}" r="3" fill="#d2691e"/>'
