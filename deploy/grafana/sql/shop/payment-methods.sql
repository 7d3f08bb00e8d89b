-- Of paid orders.
SELECT payment_method AS "payment method", count(*) AS "orders"
FROM orders
WHERE $__timeFilter(ordered_at) AND status = 'PAID'
GROUP BY 1
ORDER BY 2 DESC
