-- Hours of Seoul, added up over the days of the range.
SELECT to_char(hour AT TIME ZONE 'Asia/Seoul', 'HH24') AS "hour",
       sum(spend)::bigint AS "revenue"
FROM sales_by_hour
WHERE $__timeFilter(hour) AND scenario IN (${scenario:sqlstring})
GROUP BY 1
HAVING sum(orders) > 0
ORDER BY 1
