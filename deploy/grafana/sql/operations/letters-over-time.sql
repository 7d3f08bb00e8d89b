-- Rejected in the range, by reason.
SELECT $__timeGroup(rejected_at, $__interval) AS time,
       reason AS metric,
       count(*) AS value
FROM rejected_messages
WHERE $__timeFilter(rejected_at)
GROUP BY 1, 2
ORDER BY 1, 2
