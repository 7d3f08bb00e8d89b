-- Hours of Seoul, added up over the days of the range.
SELECT to_char(ordered_at AT TIME ZONE 'Asia/Seoul', 'HH24') AS "hour",
       sum(amount) AS "revenue"
FROM orders
WHERE $__timeFilter(ordered_at) AND status = 'PAID'
GROUP BY 1
ORDER BY 1
