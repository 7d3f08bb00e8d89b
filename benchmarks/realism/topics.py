"""The optional topics of a year, and of minutes live: what they show, and whether they agree.

    python -m benchmarks.realism --with changes,shipments,visits,baskets [--days 365] [--seed 1]

The same code reads PostgreSQL after a history of a year, and after two live windows in which the
ingest stored what the generators published to Kafka. The first window runs at the seed's pace on a
month of history, so that visits follow orders of four weeks before: visits and baskets. The second
runs at a high speed, so that it lasts some days of the shop: parcels.
"""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from benchmarks import common
from benchmarks.realism import topic_statistics
from benchmarks.realism.shop_run import RunningUp, first_order, running, write_history
from benchmarks.realism.topic_agreement import agreement
from benchmarks.targets import (
    IN_TEN_MINUTES,
    WITHOUT_CALENDAR,
    Statistic,
    with_targets,
)
from shop import kafka, postgres
from shop.clock import utc_now
from shop.errors import JangteoError
from shop.events import SCHEMAS
from shop.postgres import Connection

SCALE: Final = 0.02
"""Of the seed's rate: 158,000 orders in a year, and five million views."""
VISITS_FOLLOW: Final = timedelta(days=28)
PARCELS_TAKE: Final = timedelta(days=10)
"""After this nine in ten parcels that come back are back; all others are delivered."""
LOSSES_TAKE: Final = timedelta(days=30)
LEAVES_WITHIN: Final = timedelta(days=10)
"""After an order: the longest holidays, and the weekends around them."""
SETTLED_S: Final = 45.0
"""After the first order; until then processes still start."""
CATCH_UP_S: Final = 900.0
"""For the customers of the history, which are published at the first start."""
VIEWS: Final = "page_views"
_FIRST_VISITS: Final = "SELECT min(viewed_at) + interval '15 minutes' FROM page_views"
"""The live shop publishes the visits of the hour before its start, too; the first ones in part."""


@dataclass(frozen=True)
class LivePlan:
    """How a live window is run.

    Attributes:
        title: for people.
        days: of history before it.
        scale: of the shop's size.
        speed: of the shop.
        after_s: seconds for which the shop runs on: what belongs to the window and is known later.
        cache_s: seconds between two refreshes of the cache.
    """

    title: str
    days: int
    scale: float
    speed: float
    after_s: float
    cache_s: float


PLANS: Final = (
    # A visit that leads to an order is published when the order is there, ten minutes later.
    LivePlan("at the seed's pace", 29, 1.0, 1.0, 600.0, 50.0),
    # Ten minutes are 14 days. A refresh a second is one every half an hour of the shop.
    LivePlan("at 2,000 times a small shop's pace", 7, 0.02, 2_000.0, 60.0, 1.0),
)


@dataclass(frozen=True)
class TopicWindow:
    """What is measured, by PostgreSQL's clock.

    Attributes:
        since: first moment.
        until: first moment after it.
        agrees_since: tables must agree on what happened since then.
        visits_since: visits are measured from here on; None: not at all.
        speed: of the shop; intervals are multiplied by it.
    """

    since: datetime
    until: datetime
    agrees_since: datetime
    visits_since: datetime | None
    speed: float = 1.0

    @property
    def length(self) -> timedelta:
        """On the shop's clock."""
        return (self.until - self.since) * self.speed

    def before_end(self, span: timedelta) -> datetime:
        """Return the moment that is an interval of the shop before the end."""
        return self.until - span / self.speed


def measured(conn: Connection, window: TopicWindow) -> list[Statistic]:
    """Return the statistics that a window is long enough for, and whether its tables agree.

    Args:
        conn: outside a transaction.
        window: what is measured.
    """
    found: list[Statistic] = []
    moments = {"since": window.since, "until": window.until}
    orders = read(
        conn, "orders", ("order_id", "ordered_at", "status", "discount"),
        "ordered_at >= %(since)s AND ordered_at < %(until)s",
        {**moments, "since": min(window.since, window.visits_since or window.since)},
    )  # fmt: skip
    if window.visits_since is not None:
        views = read(
            conn, VIEWS,
            ("view_id", "session_id", "user_id", "page", "order_id", "channel", "device",
             "viewed_at"),
            "viewed_at >= %(since)s AND viewed_at < %(until)s",
            {**moments, "since": window.visits_since},
        )  # fmt: skip
        placed = orders.filter(pl.col("ordered_at") >= window.visits_since)
        found += topic_statistics.of_visits(topic_statistics.visits(views), placed.height)
    if window.length > PARCELS_TAKE:
        found += _of_parcels(conn, window, orders)
    lines = read(
        conn, "baskets", tuple(SCHEMAS["baskets"]),
        "basket_id IN (SELECT basket_id FROM baskets"
        " WHERE ordered_at >= %(since)s AND ordered_at < %(until)s)", moments,
    )  # fmt: skip
    found += topic_statistics.of_baskets(lines, orders)
    changes = read(
        conn, "customer_changes", tuple(SCHEMAS["customer_changes"]), "updated_at < %(until)s",
        moments,
    )  # fmt: skip
    if window.speed == 1 and window.length > LOSSES_TAKE:
        found += topic_statistics.of_changes(changes, window.until)
    else:  # customers change by the calendar: nobody moves within minutes
        live = changes.filter(pl.col("updated_at") >= window.since)
        found.append(topic_statistics.consent(live))
    settled = window.before_end(LEAVES_WITHIN)
    return found + agreement(conn, window.agrees_since, window.until, settled)


def _of_parcels(conn: Connection, window: TopicWindow, orders: pl.DataFrame) -> list[Statistic]:
    enough = LOSSES_TAKE if window.length > 2 * LOSSES_TAKE else PARCELS_TAKE
    old = orders.filter(pl.col("ordered_at") < window.before_end(enough))
    parcels = read(
        conn, "shipments", tuple(SCHEMAS["shipments"]),
        "order_id IN (SELECT order_id FROM orders"
        " WHERE ordered_at >= %(since)s AND ordered_at < %(until)s)",
        {"since": window.since, "until": window.before_end(enough)},
    )  # fmt: skip

    def on_shop_time(frame: pl.DataFrame) -> pl.DataFrame:
        since = pl.lit(window.since)
        times = pl.col(pl.Datetime("us", "UTC"))
        return frame.with_columns((times - since) * window.speed + since)

    found = topic_statistics.of_parcels(on_shop_time(parcels), on_shop_time(old))
    return [s for s in found if enough == LOSSES_TAKE or s.name != "parcels lost"]


def read(
    conn: Connection, table: str, columns: Sequence[str], where: str, values: Mapping[str, Any]
) -> pl.DataFrame:
    """Return rows of a topic's table as columns of `SCHEMAS`.

    Args:
        conn: to read from.
        table: its name, a topic's.
        columns: which of its columns.
        where: the condition.
        values: for its parameters.
    """
    schema = {name: SCHEMAS[table][name] for name in columns}
    times = [name for name, kind in schema.items() if kind == pl.Datetime("us", "UTC")]
    chosen = ", ".join(
        f"(extract(epoch FROM {name}) * 1000000)::bigint" if name in times else name
        for name in columns
    )
    query = f"COPY (SELECT {chosen} FROM {table} WHERE {where}) TO STDOUT WITH (FORMAT csv)"
    buffer = io.BytesIO()
    with conn.cursor() as cur, cur.copy(query.encode(), values) as copy:
        for data in copy:
            buffer.write(data)
    if not buffer.tell():
        return pl.DataFrame(schema=schema)
    buffer.seek(0)
    raw = {name: pl.Int64 if name in times else kind for name, kind in schema.items()}
    return pl.read_csv(buffer, has_header=False, schema=raw).cast(pl.Schema(schema))


@contextmanager
def _rig() -> Iterator[common.Rig]:
    """Yield a PostgreSQL of one's own."""
    with tempfile.TemporaryDirectory(prefix="jangteo-topics-") as name:
        rig = common.Rig(Path(name))
        rig.postgres.start()
        try:
            yield rig
        finally:
            rig.postgres.stop()


@contextmanager
def _reading(rig: common.Rig) -> Iterator[Connection]:
    settings = rig.settings(rig.postgres.env).postgres
    with postgres.connect(settings, "bench", autocommit=True) as conn:
        conn.execute("ANALYZE")
        yield conn


def of_a_history(
    topics: Sequence[str], seed: int, days: int, scale: float
) -> tuple[int, list[Statistic]]:
    """Write a history with topics; return its number of orders, and what it shows."""
    with _rig() as rig:
        write_history(rig, seed, days, scale, topics)
        with _reading(rig) as conn:
            row = conn.execute("SELECT min(ordered_at), max(ordered_at), count(*) FROM orders")
            since, until, orders = row.fetchone() or (None, None, 0)
            visits_since = since + VISITS_FOLLOW
            return orders, measured(conn, TopicWindow(since, until, since, visits_since))


def of_a_live_window(
    topics: Sequence[str], seed: int, seconds: float, plan: LivePlan
) -> tuple[int, list[Statistic]]:
    """Run a live shop with topics; return its number of orders, and what it shows."""
    with _rig() as rig:
        # Live visits follow the orders of the history all the same; a month of its views at the
        # seed's pace would be 20 million rows.
        before = [topic for topic in topics if topic != VIEWS]
        write_history(rig, seed, plan.days, plan.scale, before)
        with _reading(rig) as conn:
            (opened,) = conn.execute("SELECT min(ordered_at) FROM orders").fetchone() or (None,)
        with running(
            rig, seed, plan.speed, topics, {"CACHE_REFRESH_INTERVAL": f"{plan.cache_s:g}"}
        ) as shop:
            began = first_order(shop.settings)
            if plan.speed == 1:
                _await_catch_up(shop, rig)
                time.sleep(SETTLED_S)
                began = utc_now()
            time.sleep(seconds)
            until = utc_now()
            time.sleep(plan.after_s)
        found = _balance(shop.log)
        with _reading(rig) as conn:
            is_live_clock = plan.speed == 1
            visits = conn.execute(_FIRST_VISITS).fetchone() or (None,)
            window = TopicWindow(
                began,
                until,
                opened if is_live_clock else began,
                visits[0] if is_live_clock else None,
                plan.speed,
            )
            found = measured(conn, window) + found
            counted = conn.execute(
                "SELECT count(*) FROM orders WHERE ordered_at >= %s AND ordered_at < %s",
                (began, until),
            )
            (orders,) = counted.fetchone() or (0,)
        wider = IN_TEN_MINUTES if is_live_clock else WITHOUT_CALENDAR
        return orders, with_targets(found, wider)


def _await_catch_up(shop: RunningUp, rig: common.Rig) -> None:
    """Wait until the customers of the history are published, and the ingest has taken them."""
    deadline = time.monotonic() + CATCH_UP_S
    with _reading(rig) as conn:
        while time.monotonic() < deadline:
            ends = sum(kafka.end_offsets(shop.settings.kafka, "users").values())
            row = conn.execute(
                "SELECT sum(next_offset), (SELECT count(*) FROM users)"
                " FROM ingest_offsets WHERE topic = 'users'"
            )
            taken, customers = row.fetchone() or (0, 0)
            if ends - (taken or 0) < 100 and ends >= 0.99 * customers:
                return
            time.sleep(2)
    raise JangteoError(f"the ingest is not up to date within {CATCH_UP_S:g} s")


def _balance(log: Path) -> list[Statistic]:
    """Return what `up` says at its end of the messages of all topics."""
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
    if not lines:
        raise JangteoError(f"no summary at the end of {log}")
    end = json.loads(lines[-1])
    published, stored = (sum(end[what].values()) for what in ("published", "stored"))
    lacking = published - stored - end["rejected"] - end["ignored"]
    return [
        Statistic("messages that are neither stored nor a copy", lacking + end["rejected"], 0, 0),
        Statistic("differences between Kafka and PostgreSQL", len(end["wrong"]), 0, 0),
    ]
