"""Measures every query of the console's details on a shop of ten million orders.

    python -m benchmarks.console_queries [--orders N] [--data-dir DIR]

The shop is written by PostgreSQL itself, into a server of its own. Each query is run with its own
values once cold of plan and then five times; the median is printed, the rows, and what the plan
reads: index scans, and tables that are read whole.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.console_queries import large_shop
from console.lookups.details import Ref
from console.lookups.shop_rows import ShopRows
from jangteo.stack import embedded
from shop import postgres
from shop import settings as shop_settings
from shop.postgres import Connection
from shop.settings import Settings

ORDERS = 10_000_000
RUNS = 5
Query = tuple[str, Any]


class _Watched(ShopRows):
    """Keeps the queries that were asked."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.asked: list[Query] = []

    def _rows(self, query: str, values: Any) -> list[tuple[Any, ...]]:
        self.asked.append((query, values))
        return super()._rows(query, values)

    def _row(self, query: str, number: int) -> dict[str, Any] | None:
        self.asked.append((query, (number,)))
        return super()._row(query, number)


def details(conn: Connection) -> dict[str, Callable[[ShopRows], object]]:
    """Return what is opened: customers and products with the most rows, and one of each kind."""

    def busiest(column: str) -> int:
        query = f"SELECT {column} FROM orders GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
        return int((conn.execute(query.encode()).fetchone() or (0,))[0])

    order = int((conn.execute(b"SELECT max(order_id) FROM orders").fetchone() or (0,))[0])
    customer, product = busiest("user_id"), busiest("product_id")
    letter = Ref("letter", "orders/5/5")
    return {
        "customer": lambda s: list(s.customer(customer)),
        "order": lambda s: list(s.order(order)),
        "product": lambda s: list(s.product(product)),
        "grade": lambda s: list(s.grade("GOLD")),
        "dead letter": lambda s: list(s.letter(letter)),
        "dead letters about": lambda s: list(s.letters_about(str(customer))),
        "message": lambda s: (
            s.applied("orders", 5),
            s.fault_of(letter),
            s.stored("orders", order),
        ),
        "follow": lambda s: s.kinds_of(order),
        "scenario": lambda s: list(s.sales_of("flash_sale")),
    }


def measured_queries(settings: Settings, open_it: Callable[[ShopRows], object]) -> list[Query]:
    """Return the queries that opening a thing asks."""
    with contextlib.closing(_Watched(settings)) as shop:
        open_it(shop)
        return shop.asked


def measured(shop: ShopRows, query: Query) -> tuple[float, int]:
    """Return the median time of a query in milliseconds, and its rows."""
    times, rows = [], 0
    for _ in range(RUNS):
        began = time.perf_counter()
        rows = len(shop._rows(*query))
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times), rows


def reads(conn: Connection, query: Query) -> Iterator[str]:
    """Yield what the plan of a query reads: an index, or a table from its beginning."""
    text, values = query
    row = conn.execute(f"EXPLAIN (FORMAT JSON) {text}".encode(), values).fetchone()
    plans = [p["Plan"] for p in (row[0] if row else [])]
    while plans:
        plan = plans.pop()
        plans += plan.get("Plans", [])
        if "Index Name" in plan:
            yield plan["Index Name"]
        elif plan["Node Type"] == "Seq Scan":
            yield f"all of {plan['Relation Name']}"


@contextlib.contextmanager
def shop_of(orders: int, data_dir: Path) -> Iterator[Settings]:
    """Start a server, and fill it unless it is full."""
    server = embedded.EmbeddedPostgres(data_dir, durable=False)
    server.start()
    try:
        settings = shop_settings.load({**server.env, "DB_TYPE": "local"}, use_stack=False)
        with postgres.connection(settings.postgres, "benchmark", autocommit=True) as conn:
            (there,) = conn.execute(b"SELECT to_regclass('orders') IS NOT NULL").fetchone() or (0,)
            for table, seconds in () if there else large_shop.fill(conn, orders):
                print(f"{table:<20} {seconds:7.1f} s", flush=True)
        yield settings
    finally:
        server.stop()


def report(settings: Settings) -> None:
    """Print a row for each query of each detail."""
    print("| detail | query of | rows | ms | reads |\n|---|---|---|---|---|")
    with postgres.connection(settings.postgres, "benchmark", autocommit=True) as conn:
        for name, open_it in details(conn).items():
            with contextlib.closing(ShopRows(settings)) as shop:
                for query in measured_queries(settings, open_it):
                    took, rows = measured(shop, query)
                    table = re.findall(r"FROM (\w+)", query[0])[0]
                    found = ", ".join(f"`{n}`" for n in dict.fromkeys(reads(conn, query)))
                    print(f"| {name} | `{table}` | {rows} | {took:.1f} | {found} |", flush=True)


def main() -> None:
    """Write the shop, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=ORDERS)
    parser.add_argument("--data-dir", type=Path)
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = args.data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        report(stack.enter_context(shop_of(args.orders, folder)))


if __name__ == "__main__":
    main()
