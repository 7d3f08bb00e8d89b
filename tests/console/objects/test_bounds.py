"""Every query of the console is bounded in rows and time, and reads an index of a large table."""

from __future__ import annotations

import contextlib
import re

import pytest

from benchmarks.console_queries.__main__ import details, measured_queries, reads
from console.lookups import messages, shop_rows
from console.lookups.shop_rows import ShopRows
from console.sources import CurrentSettings, postgres
from shop.postgres import Connection
from shop.settings import Settings
from tests.support.layouts import both_layouts


def statements(module: object) -> dict[str, str]:
    """Return the SQL that is defined in a module."""
    found: dict[str, str] = {}
    for name, value in vars(module).items():
        texts = value.items() if isinstance(value, dict) else [("", value)]
        for key, text in texts:
            if name.startswith("_") and isinstance(text, str) and "SELECT" in text:
                found[f"{name} {key}"] = text
    return found


ALL = {**statements(shop_rows), **statements(postgres)}


def test_the_statements_are_found() -> None:
    assert len(ALL) > 15
    assert "_CUSTOMER " in ALL


@pytest.mark.parametrize("name", ALL)
def test_every_statement_has_a_limit(name: str) -> None:
    assert re.search(r"LIMIT (\d+|%s|%\(most\)s)\s*$", ALL[name]), ALL[name]


def test_every_session_has_a_time_limit_and_writes_nothing(
    settings: Settings, pg: Connection
) -> None:
    current = CurrentSettings(settings)
    sources = [
        postgres.ShopSource(current), postgres.GradeSource(current),
        postgres.DeadLetterSource(current),
    ]  # fmt: skip
    with contextlib.closing(ShopRows(settings)) as shop:
        sessions = [shop._rows, *(s._rows for s in sources)]
        for rows in sessions:
            query = "SELECT setting FROM pg_settings WHERE name = ANY(%s) ORDER BY name"
            names = ["default_transaction_read_only", "statement_timeout"]
            (read_only,), (timeout,) = rows(query, (names,))
            assert read_only == "on"
            assert 0 < int(timeout) <= 30_000
    for source in sources:
        source.reset()
    assert messages.READ_S <= 5
    assert messages.MOST_SCANNED <= 20_000


@both_layouts
def test_details_read_an_index_wherever_there_is_one(settings: Settings, pg: Connection) -> None:
    pg.execute(
        "INSERT INTO orders VALUES (1, 1, 5, 6, 1, 0, 0, 0, 'CARD', 'PAID', NULL, now(), now())"
    )
    pg.execute("SET enable_seqscan = off")  # the tables are empty: it would be the cheapest
    whole = {
        (name, table)
        for name, open_it in details(pg).items()
        for query in measured_queries(settings, open_it)
        for table in reads(pg, query)
        if table.startswith("all of")
    }
    assert whole == set()
