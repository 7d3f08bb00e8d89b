-- What became of the orders of each day of Seoul.
SELECT date_trunc('day', hour, 'Asia/Seoul') AS time,
       sum(orders)::bigint AS "paid",
       sum(cancelled)::bigint AS "cancelled",
       sum(refunded)::bigint AS "refunded"
FROM sales_by_hour
WHERE $__timeFilter(hour) AND scenario IN (${scenario:sqlstring})
GROUP BY 1
ORDER BY 1
