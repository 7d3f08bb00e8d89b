-- Mean time from dispatch to delivery of the parcels dispatched in this range.
SELECT coalesce(region, 'unknown') AS "region",
       extract(epoch FROM avg(delivered_at - dispatched_at))::float8 AS "delivery time"
FROM shipments
WHERE $__timeFilter(dispatched_at) AND delivered_at IS NOT NULL
GROUP BY region
ORDER BY 2
