-- Where the parcels are now that were dispatched on each day of Seoul.
SELECT date_trunc('day', dispatched_at, 'Asia/Seoul') AS time,
       count(*) FILTER (WHERE status = 'DELIVERED') AS "delivered",
       count(*) FILTER (WHERE status IN ('DISPATCHED', 'IN_TRANSIT')) AS "on the way",
       count(*) FILTER (WHERE status = 'RETURNED') AS "returned",
       count(*) FILTER (WHERE status = 'LOST') AS "lost"
FROM shipments
WHERE $__timeFilter(dispatched_at)
GROUP BY 1
ORDER BY 1
