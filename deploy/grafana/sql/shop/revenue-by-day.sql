-- Days of Seoul.
SELECT date_trunc('day', hour, 'Asia/Seoul') AS time,
       sum(spend)::bigint AS "revenue"
FROM sales_by_hour
WHERE $__timeFilter(hour) AND scenario IN (${scenario:sqlstring})
GROUP BY 1
ORDER BY 1
