-- By the category that products have now; "unknown": the product's own event has not arrived. Whole
-- days of Seoul.
SELECT category AS "category",
       sum(spend)::bigint AS "revenue"
FROM sales_by_category
WHERE day BETWEEN ($__timeFrom()::timestamptz AT TIME ZONE 'Asia/Seoul')::date
              AND ($__timeTo()::timestamptz AT TIME ZONE 'Asia/Seoul')::date
  AND category IN (${category:sqlstring})
GROUP BY 1
HAVING sum(orders) > 0
ORDER BY 2 DESC
