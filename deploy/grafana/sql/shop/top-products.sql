-- The ten that brought in most.
SELECT p.name AS "product", p.brand AS "brand", p.category AS "category",
       o.orders AS "orders", o.revenue AS "revenue"
FROM (SELECT product_id, count(*) AS orders, sum(amount)::bigint AS revenue
      FROM orders
      WHERE $__timeFilter(ordered_at) AND status = 'PAID'
      GROUP BY product_id
      ORDER BY revenue DESC, product_id
      LIMIT 10) AS o
JOIN products AS p USING (product_id)
ORDER BY o.revenue DESC, o.product_id
