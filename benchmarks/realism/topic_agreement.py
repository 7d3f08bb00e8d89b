"""Whether the tables of the optional topics agree with the orders, customers and products.

Each query counts the rows that contradict another table, of what happened from one moment to
another; none may.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from benchmarks.targets import Statistic
from jangteo.stack import consistency
from shop.postgres import Connection

_ORDERED: Final = "o.ordered_at >= %(since)s AND o.ordered_at < %(until)s"
_VIEWED: Final = "v.viewed_at >= %(since)s AND v.viewed_at < %(until)s"
_PARCELS: Final = (
    f"SELECT count(*) FROM shipments AS s JOIN orders AS o USING (order_id) WHERE {_ORDERED}"
)

QUERIES: Final[Mapping[str, str]] = {
    # Parcels.
    "parcels without an order of the same customer": """
        SELECT count(*) FROM shipments AS s
        LEFT JOIN orders AS o ON o.order_id = s.order_id AND o.user_id = s.user_id
        WHERE o.order_id IS NULL AND s.dispatched_at < %(until)s""",
    "orders with several parcels": """
        SELECT count(*) FROM (
            SELECT FROM shipments GROUP BY order_id HAVING count(*) > 1) AS several""",
    "parcels of orders that were not paid when they left": f"""{_PARCELS}
        AND (s.dispatched_at <= o.ordered_at
             OR o.status = 'CANCELLED' AND o.updated_at <= s.dispatched_at)""",
    "paid orders of long ago without a parcel": f"""
        SELECT count(*) FROM orders AS o LEFT JOIN shipments AS s ON s.order_id = o.order_id
        WHERE {_ORDERED} AND o.ordered_at < %(settled)s
          AND o.status <> 'CANCELLED' AND s.order_id IS NULL""",
    "refunds before the parcel was back or lost": f"""
        SELECT count(*) FROM orders AS o LEFT JOIN shipments AS s ON s.order_id = o.order_id
        WHERE {_ORDERED} AND o.status = 'REFUNDED' AND o.updated_at < %(until)s
          AND coalesce(s.returned_at, s.lost_at, 'infinity') >= o.updated_at""",
    "parcels with steps out of order": f"""{_PARCELS}
        AND (s.in_transit_at <= s.dispatched_at OR s.delivered_at <= s.in_transit_at
             OR s.returned_at <= coalesce(s.delivered_at, s.in_transit_at, s.dispatched_at)
             OR s.lost_at <= s.in_transit_at OR num_nonnulls(s.lost_at, s.delivered_at) > 1)""",
    # Visits.
    "orders in several visits": """
        SELECT count(*) FROM (SELECT FROM page_views WHERE order_id IS NOT NULL
                              GROUP BY order_id HAVING count(*) > 1) AS several""",
    "checkouts that are not at the moment of their order": f"""
        SELECT count(*) FROM page_views AS v
        LEFT JOIN orders AS o ON o.order_id = v.order_id AND o.user_id = v.user_id
        WHERE {_VIEWED} AND v.order_id IS NOT NULL
          AND (v.page <> 'CHECKOUT' OR v.viewed_at IS DISTINCT FROM o.ordered_at)""",
    "visits that ordered what they had not looked at": f"""
        SELECT count(*) FROM page_views AS v JOIN orders AS o ON o.order_id = v.order_id
        WHERE {_ORDERED} AND NOT EXISTS (
            SELECT FROM page_views AS p WHERE p.session_id = v.session_id
            AND p.product_id = o.product_id AND p.viewed_at < v.viewed_at)""",
    "visits of several customers, channels or devices": """
        SELECT count(*) FROM (
            SELECT FROM page_views GROUP BY session_id
            HAVING min(user_id) <> max(user_id) OR min(channel) <> max(channel)
                OR min(device) <> max(device)) AS mixed""",
    "views of products before they were listed": f"""
        SELECT count(*) FROM page_views AS v LEFT JOIN products AS p USING (product_id)
        WHERE {_VIEWED} AND v.product_id IS NOT NULL
          AND (p.created_at IS NULL OR p.created_at > v.viewed_at)""",
    "sign-up pages that are not at the moment of the sign-up": f"""
        SELECT count(*) FROM page_views AS v LEFT JOIN users AS u USING (user_id)
        WHERE {_VIEWED} AND v.page = 'SIGN_UP' AND v.viewed_at IS DISTINCT FROM u.created_at""",
    # Baskets.
    "orders in no basket of their customer": f"""
        SELECT count(*) FROM orders AS o LEFT JOIN baskets AS b ON b.order_id = o.order_id
            AND b.user_id = o.user_id AND b.ordered_at = o.ordered_at
        WHERE {_ORDERED} AND b.order_id IS NULL""",
    "basket lines without an order": """
        SELECT count(*) FROM baskets AS b LEFT JOIN orders AS o USING (order_id)
        WHERE o.order_id IS NULL""",
    "baskets of several customers or coupons, or without their first order": """
        SELECT count(*) FROM (
            SELECT FROM baskets GROUP BY basket_id
            HAVING min(user_id) <> max(user_id) OR min(coupon) <> max(coupon)
                OR min(order_id) <> basket_id) AS mixed""",
    "discounts that are not the coupon's and the sale's": """
        SELECT count(*) FROM basket_lines WHERE coupon_discount < 0 OR sale_discount < 0
            OR discount <> coupon_discount + sale_discount
            OR quantity * unit_price <> amount + coupon_discount + sale_discount
            OR (coupon IS NULL) <> (coupon_discount = 0)""",
    # Customers and prices over time.
    "changes that are not in the history of customers once, in their place": """
        SELECT count(*) FROM customer_changes AS c FULL JOIN (
            SELECT *, lead(valid_from) OVER (
                PARTITION BY user_id ORDER BY valid_from, rev, change_id) AS next
            FROM users_history) AS h USING (change_id)
        WHERE c.change_id IS NULL OR h.change_id IS NULL OR h.user_id <> c.user_id
           OR h.valid_from <> c.updated_at OR h.valid_to IS DISTINCT FROM h.next
           OR h.current <> (h.next IS NULL)""",
    "customers whose history does not begin with the sign-up": """
        SELECT count(*) FROM users AS u
        LEFT JOIN (SELECT user_id, min(valid_from) AS began FROM users_history GROUP BY user_id)
            AS h USING (user_id)
        WHERE u.created_at < %(until)s AND u.created_at IS DISTINCT FROM h.began""",
    "orders of closed accounts": f"""
        SELECT count(*) FROM orders AS o JOIN users_history AS h USING (user_id)
        WHERE {_ORDERED} AND h.kind = 'CLOSED' AND o.ordered_at >= h.valid_from""",
    "what is left of closed accounts": """
        SELECT count(*) FROM users_history AS c
        WHERE c.kind = 'CLOSED' AND (
            EXISTS (SELECT FROM users AS u WHERE u.user_id = c.user_id
                    AND num_nonnulls(u.name, u.email, u.gender, u.birth_year, u.city) > 0)
            OR EXISTS (SELECT FROM users_history AS h WHERE h.user_id = c.user_id
                       AND num_nonnulls(h.name, h.city, h.marketing_consent) > 0)
            OR EXISTS (SELECT FROM customer_changes AS h WHERE h.user_id = c.user_id
                       AND num_nonnulls(h.name, h.city, h.marketing_consent) > 0))""",
    "prices that do not end where the next one begins": """
        SELECT count(*) FROM (
            SELECT *, lead(valid_from) OVER (PARTITION BY product_id ORDER BY valid_from, rev)
                AS next FROM product_prices) AS p
        WHERE valid_to IS DISTINCT FROM next OR current <> (next IS NULL)""",
    "orders at another price than that of their moment": f"""
        SELECT count(*) FROM order_prices AS o
        WHERE {_ORDERED} AND o.unit_price IS DISTINCT FROM o.list_price""",
}
"""What would contradict another table -> how many rows do."""
BALANCES: Final = "windows, totals, counters and rollups that differ from the orders"


def contradictions(
    conn: Connection, name: str, since: datetime, until: datetime, settled: datetime
) -> int:
    """Return how many rows contradict another table, of one kind; see `agreement`."""
    moments = {"since": since, "until": until, "settled": settled}
    return int((conn.execute(QUERIES[name].encode(), moments).fetchone() or (0,))[0])


def agreement(
    conn: Connection, since: datetime, until: datetime, settled: datetime
) -> list[Statistic]:
    """Return how many rows contradict another table, of every kind, each with the target 0.

    Args:
        conn: outside a transaction.
        since: what happened before is left out where both sides have a time.
        until: likewise of what happened from then on, which may not be stored yet.
        settled: parcels of orders before this moment have left.
    """
    found = {name: contradictions(conn, name, since, until, settled) for name in QUERIES}
    found[BALANCES] = len(consistency.check(conn))
    return [Statistic(name, value, 0, 0) for name, value in found.items()]
