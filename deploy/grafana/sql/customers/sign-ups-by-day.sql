-- Days of Seoul.
SELECT date_trunc('day', created_at, 'Asia/Seoul') AS time,
       count(*) AS "sign-ups"
FROM users
WHERE $__timeFilter(created_at)
GROUP BY 1
ORDER BY 1
