-- The five products whose revenue rose most against the period of the same length before, and the five
-- whose revenue fell most; whole days of Seoul.
WITH days AS (
    SELECT ($__timeFrom()::timestamptz AT TIME ZONE 'Asia/Seoul')::date AS first,
           ($__timeTo()::timestamptz AT TIME ZONE 'Asia/Seoul')::date AS last
), sold AS MATERIALIZED (
    SELECT product_id,
           coalesce(sum(spend) FILTER (WHERE day >= first), 0)::bigint AS revenue,
           coalesce(sum(spend) FILTER (WHERE day < first), 0)::bigint AS before
    FROM sales_by_product, days
    WHERE day BETWEEN first - (last - first + 1) AND last
    GROUP BY product_id
), moved AS MATERIALIZED (
    SELECT p.product_id, p.name, p.category, s.revenue, s.before, s.revenue - s.before AS change
    FROM sold AS s JOIN products AS p USING (product_id)
    WHERE coalesce(p.category, 'unknown') IN (${category:sqlstring})
)
SELECT name AS "product", category AS "category", revenue AS "revenue", before AS "period before",
       change AS "change"
FROM (SELECT * FROM (SELECT * FROM moved ORDER BY change DESC, product_id LIMIT 5) AS up
      UNION
      SELECT * FROM (SELECT * FROM moved ORDER BY change, product_id LIMIT 5) AS down) AS both_ends
ORDER BY change DESC, product_id
