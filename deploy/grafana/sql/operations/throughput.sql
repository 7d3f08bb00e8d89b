-- Orders first stored, per second. Orders dated more than a day before the range are left out, so
-- that only the newest part of the table is read, and so is what a backfill wrote.
SELECT $__timeGroup(ingested_at, $__interval) AS time,
       count(*) * 1000.0 / $__interval_ms AS "orders/s"
FROM orders
WHERE ordered_at > $__timeFrom()::timestamptz - interval '1 day' AND $__timeFilter(ingested_at)
      AND ordered_at >= (SELECT coalesce(max(ends_at), '-infinity') FROM backfill_runs)
GROUP BY 1
ORDER BY 1
