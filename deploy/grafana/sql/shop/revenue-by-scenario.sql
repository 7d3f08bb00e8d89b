-- The scenario that an order was made in; "none" outside of any. Days of Seoul.
SELECT date_trunc('day', ordered_at, 'Asia/Seoul') AS time,
       coalesce(scenario, 'none') AS metric,
       sum(amount) AS value
FROM orders
WHERE $__timeFilter(ordered_at) AND status = 'PAID'
GROUP BY 1, 2
ORDER BY 1, 2
