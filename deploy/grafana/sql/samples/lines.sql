-- About 10,000 orders of the range with their baskets, or all where there are fewer: a share of each
-- of 997 slices of it. The id of an order has its time, in ms since 2020 before 12 bits.
bounds AS (
    SELECT greatest((extract(epoch FROM $__timeFrom()::timestamptz)::bigint - 1577836800) * 1000,
                    (SELECT min(order_id) FROM baskets) >> 12) AS since,
           (extract(epoch FROM least($__timeTo()::timestamptz, now())) * 1000)::bigint
               - 1577836800000 AS until
),
shares AS (
    SELECT b.*, least(1, 10000.0 / (
        SELECT greatest(1, sum(orders + cancelled + refunded)) FROM sales_by_hour
        WHERE hour BETWEEN to_timestamp(b.since / 1000 + 1577836800) - interval '1 hour'
          AND to_timestamp(b.until / 1000 + 1577836800)))::float8 AS share
    FROM bounds AS b
),
lines AS (
    SELECT l.*, s.share,
           date_trunc(CASE WHEN s.until - s.since > 8e9 THEN 'week' ELSE 'day' END,
                      l.ordered_at, 'Asia/Seoul') AS day
    FROM shares AS s
    CROSS JOIN generate_series(0, 996) AS n
    CROSS JOIN LATERAL (
        SELECT s.since + (n * (s.until - s.since) / 997.0)::bigint AS first,
               s.since + ((n + s.share) * (s.until - s.since) / 997.0)::bigint AS beyond
    ) AS slice
    CROSS JOIN LATERAL (
        SELECT * FROM baskets
        WHERE order_id >= slice.first << 12 AND order_id < slice.beyond << 12
        ORDER BY order_id LIMIT 500
    ) AS l
)
