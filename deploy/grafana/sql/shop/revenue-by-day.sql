-- Days of Seoul.
SELECT date_trunc('day', ordered_at, 'Asia/Seoul') AS time,
       sum(amount) AS "revenue"
FROM orders
WHERE $__timeFilter(ordered_at) AND status = 'PAID'
GROUP BY 1
ORDER BY 1
