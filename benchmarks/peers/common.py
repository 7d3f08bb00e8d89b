"""What the peers share: where the servers are, the upsert, and telling the harness how far.

A peer says `started` on stdout when its first message arrives and `done` when the last order is
committed; the harness takes the time between.
"""

from __future__ import annotations

import os
from typing import Any

BOOTSTRAP = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
POSTGRES: dict[str, Any] = {
    "host": os.environ["POSTGRES_HOST"],
    "port": int(os.environ["POSTGRES_PORT"]),
    "dbname": os.environ["POSTGRES_DB"],
    "user": os.environ["POSTGRES_USER"],
    "password": os.environ["POSTGRES_PASSWORD"],
}
COLUMNS = (
    "order_id", "rev", "user_id", "product_id", "quantity", "unit_price", "discount", "amount",
    "payment_method", "status", "scenario", "ordered_at", "updated_at",
)  # fmt: skip
UPSERT = (
    f"INSERT INTO orders AS o ({', '.join(COLUMNS)}) VALUES ({', '.join(['%s'] * len(COLUMNS))})"
    f" ON CONFLICT (order_id) DO UPDATE SET ({', '.join(COLUMNS)}) ="
    f" ROW({', '.join('excluded.' + c for c in COLUMNS)}) WHERE o.rev < excluded.rev"
)


class Progress:
    """Counts committed orders and reports them to the harness."""

    def __init__(self, total: int) -> None:
        self.left = total
        self._started = False

    def start(self) -> None:
        """Note that messages arrive."""
        if not self._started:
            self._started = True
            print("started", flush=True)

    def committed(self, n: int) -> bool:
        """Note `n` more orders committed; return whether that was the last."""
        self.left -= n
        if self.left <= 0:
            print("done", flush=True)
        return self.left <= 0
