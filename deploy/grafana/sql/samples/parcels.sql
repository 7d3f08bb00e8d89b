-- About 20,000 parcels of the orders of the range, or all where there are fewer: a share of each of
-- 997 slices of it. The id of an order has its time, in ms since 2020 before 12 bits.
bounds AS (
    SELECT greatest((extract(epoch FROM $__timeFrom()::timestamptz)::bigint - 1577836800) * 1000,
                    (SELECT min(shipment_id) FROM shipments) >> 12) AS since,
           (extract(epoch FROM least($__timeTo()::timestamptz, now())) * 1000)::bigint
               - 1577836800000 AS until
),
shares AS (
    SELECT b.*, least(1, 20000.0 / (
        SELECT greatest(1, sum(orders + cancelled + refunded)) FROM sales_by_hour
        WHERE hour BETWEEN to_timestamp(b.since / 1000 + 1577836800) - interval '1 hour'
          AND to_timestamp(b.until / 1000 + 1577836800)))::float8 AS share
    FROM bounds AS b
),
parcels AS (
    SELECT p.*, s.share,
           date_trunc(CASE WHEN s.until - s.since > 8e9 THEN 'week' ELSE 'day' END,
                      to_timestamp((p.shipment_id >> 12) / 1000 + 1577836800), 'Asia/Seoul') AS day
    FROM shares AS s
    CROSS JOIN generate_series(0, 996) AS n
    CROSS JOIN LATERAL (
        SELECT s.since + (n * (s.until - s.since) / 997.0)::bigint AS first,
               s.since + ((n + s.share) * (s.until - s.since) / 997.0)::bigint AS beyond
    ) AS slice
    CROSS JOIN LATERAL (
        SELECT * FROM shipments
        WHERE shipment_id >= slice.first << 12 AND shipment_id < slice.beyond << 12
        ORDER BY shipment_id LIMIT 500
    ) AS p
)
