-- What the grader's runs changed, by day of Seoul.
SELECT date_trunc('day', as_of, 'Asia/Seoul') AS time,
       sum(upgraded)::bigint AS "up",
       -sum(downgraded)::bigint AS "down"
FROM grade_runs
WHERE $__timeFilter(as_of)
GROUP BY 1
ORDER BY 1
