-- Of paid orders; whole days of Seoul.
SELECT payment_method AS "payment method", sum(orders)::bigint AS "orders"
FROM sales_by_payment_method
WHERE day BETWEEN ($__timeFrom()::timestamptz AT TIME ZONE 'Asia/Seoul')::date
              AND ($__timeTo()::timestamptz AT TIME ZONE 'Asia/Seoul')::date
GROUP BY 1
ORDER BY 2 DESC
