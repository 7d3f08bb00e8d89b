-- "unknown": the product's own event has not arrived.
SELECT coalesce(p.category, 'unknown') AS "category",
       sum(o.revenue)::bigint AS "revenue"
FROM (SELECT product_id, sum(amount) AS revenue
      FROM orders
      WHERE $__timeFilter(ordered_at) AND status = 'PAID'
      GROUP BY product_id) AS o
LEFT JOIN products AS p USING (product_id)
GROUP BY 1
ORDER BY 2 DESC
