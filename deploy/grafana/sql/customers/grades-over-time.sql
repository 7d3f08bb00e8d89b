-- At midnight of Seoul, and at the end of the range if that is now. Reckoned back from the grades of today: what grade_history says of
-- later changes is taken off, and so are later sign-ups, which begin as BRONZE.
WITH days AS (
    SELECT generate_series(date_trunc('day', $__timeFrom()::timestamptz, 'Asia/Seoul'), now(),
                           interval '1 day') AS time
), changes AS (
    SELECT date_trunc('day', as_of, 'Asia/Seoul') AS time, to_grade AS grade, count(*) AS change
    FROM grade_history WHERE as_of >= (SELECT min(time) FROM days) GROUP BY 1, 2
    UNION ALL
    SELECT date_trunc('day', as_of, 'Asia/Seoul'), from_grade, -count(*)
    FROM grade_history WHERE as_of >= (SELECT min(time) FROM days) GROUP BY 1, 2
    UNION ALL
    SELECT date_trunc('day', created_at, 'Asia/Seoul'), 'BRONZE', count(*)
    FROM users WHERE created_at >= (SELECT min(time) FROM days) GROUP BY 1
), later AS (
    SELECT time, grade, sum(change) AS change FROM changes GROUP BY 1, 2
), today AS (
    SELECT g.grade, count(u.user_id) AS customers
    FROM unnest(ARRAY['BRONZE', 'SILVER', 'GOLD', 'VIP', 'VVIP']) AS g (grade)
    LEFT JOIN users AS u USING (grade)
    GROUP BY g.grade
), points AS (
    SELECT d.time, t.grade,
           t.customers - sum(coalesce(l.change, 0))
               OVER (PARTITION BY t.grade ORDER BY d.time DESC) AS customers
    FROM days AS d
    CROSS JOIN today AS t
    LEFT JOIN later AS l ON l.time = d.time AND l.grade = t.grade
    UNION ALL
    SELECT $__timeTo()::timestamptz, grade, customers FROM today
    WHERE $__timeTo()::timestamptz > now() - interval '10 minutes'
)
SELECT time, grade AS metric, customers::bigint AS value
FROM points
WHERE $__timeFilter(time)
ORDER BY time, grade
