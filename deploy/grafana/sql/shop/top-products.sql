-- The ten that brought in most; whole days of Seoul. Names are looked up for these ten alone.
WITH sold AS MATERIALIZED (
    SELECT product_id, sum(orders) AS orders, sum(spend)::bigint AS revenue
    FROM sales_by_product
    WHERE day BETWEEN ($__timeFrom()::timestamptz AT TIME ZONE 'Asia/Seoul')::date
                  AND ($__timeTo()::timestamptz AT TIME ZONE 'Asia/Seoul')::date
    GROUP BY product_id
)
SELECT p.name AS "product", p.brand AS "brand", p.category AS "category",
       s.orders AS "orders", s.revenue AS "revenue"
FROM (SELECT * FROM sold
      WHERE product_id IN (SELECT product_id FROM products
                           WHERE coalesce(category, 'unknown') IN (${category:sqlstring}))
      ORDER BY revenue DESC, product_id LIMIT 10) AS s
JOIN products AS p USING (product_id)
ORDER BY s.revenue DESC, s.product_id
