-- Products that changed on each day of Seoul; listings are not in it. Empty unless the shop was
-- started with --with changes.
SELECT date_trunc('day', valid_from, 'Asia/Seoul') AS time,
       count(*) FILTER (WHERE sale_status = 'LISTED') AS "new price",
       count(*) FILTER (WHERE sale_status = 'DELISTED') AS "off sale"
FROM product_prices
WHERE $__timeFilter(valid_from) AND rev > 1
GROUP BY 1
ORDER BY 1
