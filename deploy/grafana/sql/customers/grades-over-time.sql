-- At midnight of Seoul, and at the end of the range if that is now: sign-ups, which begin as BRONZE,
-- and changes of grades until then. A stub counts from the beginning.
WITH days AS (
    SELECT generate_series(date_trunc('day', $__timeFrom()::timestamptz, 'Asia/Seoul'), now(),
                           interval '1 day') AS time
), changes AS (
    SELECT day, to_grade AS grade, customers FROM grade_moves_by_day
    UNION ALL
    SELECT day, from_grade, -customers FROM grade_moves_by_day
    UNION ALL
    SELECT day, 'BRONZE', customers FROM sign_ups_by_day
    UNION ALL
    SELECT '-infinity', 'BRONZE', count(*) FROM users WHERE created_at IS NULL
), by_day AS (
    SELECT greatest(day::timestamp AT TIME ZONE 'Asia/Seoul' + interval '1 day',
                    (SELECT min(time) FROM days)) AS time,
           grade, sum(customers) AS change
    FROM changes GROUP BY 1, 2
), points AS (
    SELECT d.time, g.grade,
           sum(coalesce(b.change, 0)) OVER (PARTITION BY g.grade ORDER BY d.time) AS customers
    FROM days AS d
    CROSS JOIN unnest(ARRAY['BRONZE', 'SILVER', 'GOLD', 'VIP', 'VVIP']) AS g (grade)
    LEFT JOIN by_day AS b ON b.time = d.time AND b.grade = g.grade
    UNION ALL
    SELECT $__timeTo()::timestamptz, g.grade, coalesce(sum(c.customers), 0)
    FROM unnest(ARRAY['BRONZE', 'SILVER', 'GOLD', 'VIP', 'VVIP']) AS g (grade)
    LEFT JOIN changes AS c USING (grade)
    WHERE $__timeTo()::timestamptz > now() - interval '10 minutes'
    GROUP BY g.grade
)
SELECT time, grade AS metric, customers::bigint AS value
FROM points
WHERE $__timeFilter(time) AND grade IN (${grade:sqlstring})
ORDER BY time, grade
