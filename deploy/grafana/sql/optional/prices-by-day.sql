-- Products that changed on each day of Seoul, listings left out; from every block of the table up to
-- 4,000, and from about as many where it has more.
WITH sampled AS (
    SELECT least(1, 4000.0 * current_setting('block_size')::integer
                    / greatest(1, pg_relation_size('product_prices'))) AS share
)
SELECT date_trunc('day', p.valid_from, 'Asia/Seoul') AS time,
       round(count(*) FILTER (WHERE p.sale_status = 'LISTED') / max(s.share))::bigint AS "new price",
       round(count(*) FILTER (WHERE p.sale_status = 'DELISTED') / max(s.share))::bigint AS "off sale"
FROM sampled AS s
CROSS JOIN LATERAL (
    SELECT * FROM product_prices TABLESAMPLE SYSTEM (100 * s.share) REPEATABLE (1)
) AS p
WHERE $__timeFilter(p.valid_from) AND p.rev > 1
GROUP BY 1
ORDER BY 1
