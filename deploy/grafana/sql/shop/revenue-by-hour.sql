-- An hour a point: for ranges of days, not of months.
SELECT $__timeGroup(ordered_at, '1h') AS time,
       sum(amount) AS "revenue"
FROM orders
WHERE $__timeFilter(ordered_at) AND status = 'PAID'
GROUP BY 1
ORDER BY 1
