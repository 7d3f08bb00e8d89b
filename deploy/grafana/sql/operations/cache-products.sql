-- What the cache worker can draw from, as of now.
SELECT CASE WHEN price IS NULL THEN 'stubs'
            WHEN order_count = 0 THEN 'never sold' ELSE 'sold' END AS "products",
       count(*) AS "how many"
FROM products
GROUP BY 1
ORDER BY 1
