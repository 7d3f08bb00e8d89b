-- Each run of the grader in the range.
SELECT finished_at AS time,
       extract(epoch FROM finished_at - started_at) AS "seconds",
       changed AS "grades changed"
FROM grade_runs
WHERE $__timeFilter(finished_at)
ORDER BY 1
