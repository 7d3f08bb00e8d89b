-- What became of the orders of each day of Seoul.
SELECT date_trunc('day', ordered_at, 'Asia/Seoul') AS time,
       count(*) FILTER (WHERE status = 'PAID') AS "paid",
       count(*) FILTER (WHERE status = 'CANCELLED') AS "cancelled",
       count(*) FILTER (WHERE status = 'REFUNDED') AS "refunded"
FROM orders
WHERE $__timeFilter(ordered_at)
GROUP BY 1
ORDER BY 1
