-- Whom the cache worker can draw from, as of now; stubs cannot be cached. How full the cache is and
-- when it was refreshed is in Redis: `jangteo monitor`, or the Prometheus dashboard.
SELECT CASE WHEN created_at IS NULL THEN 'stubs'
            WHEN last_ordered_at IS NULL THEN 'never ordered' ELSE 'ordered' END AS "customers",
       count(*) AS "how many"
FROM users
GROUP BY 1
ORDER BY 1
