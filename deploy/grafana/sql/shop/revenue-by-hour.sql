-- An hour a point: for ranges of days, not of months.
SELECT $__timeGroup(hour, '1h') AS time,
       sum(spend)::bigint AS "revenue"
FROM sales_by_hour
WHERE $__timeFilter(hour) AND scenario IN (${scenario:sqlstring})
GROUP BY 1
ORDER BY 1
