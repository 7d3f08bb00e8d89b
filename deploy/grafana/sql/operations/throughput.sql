-- Orders first stored, per second. Orders dated more than a day before the range are left out, so
-- that only the newest part of the table is read: what a backfill wrote does not count either.
SELECT $__timeGroup(ingested_at, $__interval) AS time,
       count(*) * 1000.0 / $__interval_ms AS "orders/s"
FROM orders
WHERE ordered_at > $__timeFrom()::timestamptz - interval '1 day' AND $__timeFilter(ingested_at)
GROUP BY 1
ORDER BY 1
