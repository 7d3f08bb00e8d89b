-- From the order's own time to its row, in seconds: lag as a customer would feel it. Lag in messages
-- is what Kafka knows: `jangteo topics describe`, or the Prometheus dashboard.
SELECT $__timeGroup(ordered_at, $__interval) AS time,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM ingested_at - ordered_at))
           AS "half within",
       percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM ingested_at - ordered_at))
           AS "95 % within"
FROM orders
WHERE $__timeFilter(ordered_at)
GROUP BY 1
ORDER BY 1
