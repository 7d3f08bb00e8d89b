-- The scenario that an order was made in; "none" outside of any. Days of Seoul.
SELECT date_trunc('day', hour, 'Asia/Seoul') AS time,
       scenario AS metric,
       sum(spend)::bigint AS value
FROM sales_by_hour
WHERE $__timeFilter(hour) AND scenario IN (${scenario:sqlstring})
GROUP BY 1, 2
HAVING sum(orders) > 0
ORDER BY 1, 2
