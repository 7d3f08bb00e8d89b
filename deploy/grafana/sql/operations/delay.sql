-- From the order's own time to its row, in seconds: lag as a customer would feel it. Lag in messages
-- is what Kafka knows: `jangteo topics describe`, or the Prometheus dashboard. A history is left out.
SELECT $__timeGroup(ordered_at, $__interval) AS time,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM ingested_at - ordered_at))
           AS "half within",
       percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM ingested_at - ordered_at))
           AS "95 % within",
       percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM ingested_at - ordered_at))
           AS "99 % within"
FROM orders
WHERE $__timeFilter(ordered_at)
      AND ordered_at >= (SELECT coalesce(max(ends_at), '-infinity') FROM backfill_runs)
GROUP BY 1
ORDER BY 1
