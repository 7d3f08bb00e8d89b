"""What the tests of grading share."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta

import pytest

from shop.clock import UTC
from shop.postgres import Connection

NOW = datetime(2026, 8, 31, 12, tzinfo=UTC)


class CustomerTables:
    """Writes customers and orders straight into the tables."""

    def __init__(self, pg: Connection) -> None:
        self.pg = pg
        self._ids = itertools.count(1)

    def user(self, user_id: int, grade: str = "BRONZE") -> None:
        self.pg.execute("INSERT INTO users (user_id, grade) VALUES (%s, %s)", (user_id, grade))

    def order(
        self,
        user_id: int,
        amount: int,
        ordered_at: datetime = NOW - timedelta(days=1),
        status: str = "PAID",
    ) -> int:
        order_id = next(self._ids)
        self.pg.execute(
            "INSERT INTO orders VALUES (%s, 1, %s, 1, 1, %s, 0, %s, 'CARD', %s, NULL, %s, %s)",
            (order_id, user_id, amount, amount, status, ordered_at, ordered_at),
        )
        if status == "PAID":
            self._spent(user_id, amount)
        return order_id

    def cancel(self, order_id: int, status: str = "CANCELLED") -> None:
        row = self.pg.execute(
            "UPDATE orders SET rev = 2, status = %s WHERE order_id = %s AND status = 'PAID'"
            " RETURNING user_id, amount",
            (status, order_id),
        ).fetchone()
        if row:
            self._spent(row[0], -row[1])

    def _spent(self, user_id: int, amount: int) -> None:
        """Keep the totals, as the ingest does in the transaction of the order."""
        self.pg.execute(
            "INSERT INTO users AS u (user_id, total_spent) VALUES (%s, %s)"
            " ON CONFLICT (user_id) DO UPDATE SET total_spent = u.total_spent + %s",
            (user_id, amount, amount),
        )

    def grades(self) -> dict[int, str]:
        return dict(self.pg.execute("SELECT user_id, grade FROM users ORDER BY 1").fetchall())

    def history(self) -> list[tuple[int, str, str, int]]:
        return self.pg.execute(
            "SELECT user_id, from_grade, to_grade, cumulative_spend FROM grade_history "
            "ORDER BY as_of, user_id"
        ).fetchall()

    def runs(self) -> list[tuple[str, int, int, int, int]]:
        return self.pg.execute(
            "SELECT mode, users, changed, upgraded, downgraded FROM grade_runs ORDER BY run_id"
        ).fetchall()

    def graders(self, waiting_for: str | None = None) -> list[int]:
        """Return the server processes of graders, or of those that wait for a kind of lock."""
        return [
            pid
            for (pid,) in self.pg.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'jangteo-grader' "
                "AND datname = current_database() "
                "AND (%(l)s::text IS NULL OR wait_event_type = 'Lock' AND wait_event = %(l)s)",
                {"l": waiting_for},
            ).fetchall()
        ]


@pytest.fixture
def shop(pg: Connection) -> CustomerTables:
    return CustomerTables(pg)
