-- The five products whose revenue rose most against the period of the same length before, and the five
-- whose revenue fell most; whole days of Seoul. Names are looked up for these ten alone.
WITH days AS (
    SELECT ($__timeFrom()::timestamptz AT TIME ZONE 'Asia/Seoul')::date AS first,
           ($__timeTo()::timestamptz AT TIME ZONE 'Asia/Seoul')::date AS last
), sold AS MATERIALIZED (
    SELECT product_id, sum(spend)::bigint AS whole,
           coalesce(sum(spend) FILTER (WHERE day < first), 0)::bigint AS before
    FROM sales_by_product, days
    WHERE day BETWEEN first - (last - first + 1) AND last
    GROUP BY product_id
), moved AS (
    SELECT s.product_id, s.whole - s.before AS revenue, s.before, s.whole - 2 * s.before AS change
    FROM sold AS s
    WHERE product_id IN (SELECT product_id FROM products
                         WHERE coalesce(category, 'unknown') IN (${category:sqlstring}))
)
SELECT p.name AS "product", p.category AS "category", revenue AS "revenue", before AS "period before",
       change AS "change"
FROM (SELECT * FROM (SELECT * FROM moved ORDER BY change DESC, product_id LIMIT 5) AS up
      UNION
      SELECT * FROM (SELECT * FROM moved ORDER BY change, product_id LIMIT 5) AS down) AS both_ends
JOIN products AS p USING (product_id)
ORDER BY change DESC, product_id
