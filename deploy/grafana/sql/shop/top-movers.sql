-- The five products whose revenue rose most against the period of the same length before, and the five
-- whose revenue fell most; whole days of Seoul.
WITH days AS (
    SELECT ($__timeFrom()::timestamptz AT TIME ZONE 'Asia/Seoul')::date AS first,
           ($__timeTo()::timestamptz AT TIME ZONE 'Asia/Seoul')::date AS last
), moved AS (
    SELECT product_id,
           coalesce(sum(spend) FILTER (WHERE day >= first), 0)::bigint AS revenue,
           coalesce(sum(spend) FILTER (WHERE day < first), 0)::bigint AS before
    FROM sales_by_product, days
    WHERE day BETWEEN first - (last - first + 1) AND last
    GROUP BY product_id
), ranked AS (
    SELECT *, row_number() OVER (ORDER BY revenue - before DESC, product_id) AS up,
           row_number() OVER (ORDER BY revenue - before, product_id) AS down
    FROM moved
)
SELECT p.name AS "product", p.category AS "category", r.revenue AS "revenue",
       r.before AS "period before", r.revenue - r.before AS "change"
FROM ranked AS r JOIN products AS p USING (product_id)
WHERE r.up <= 5 OR r.down <= 5
ORDER BY r.revenue - r.before DESC, r.product_id
