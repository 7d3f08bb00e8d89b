-- Changes of grades in the range, by days of Seoul: a row is the grade before, a column the one after.
WITH moves AS (
    SELECT from_grade, to_grade, sum(customers)::bigint AS customers
    FROM grade_moves_by_day
    WHERE day BETWEEN ($__timeFrom()::timestamptz AT TIME ZONE 'Asia/Seoul')::date
                  AND ($__timeTo()::timestamptz AT TIME ZONE 'Asia/Seoul')::date
    GROUP BY 1, 2
)
SELECT g.grade AS "from",
       coalesce(sum(customers) FILTER (WHERE to_grade = 'BRONZE'), 0)::bigint AS "to BRONZE",
       coalesce(sum(customers) FILTER (WHERE to_grade = 'SILVER'), 0)::bigint AS "to SILVER",
       coalesce(sum(customers) FILTER (WHERE to_grade = 'GOLD'), 0)::bigint AS "to GOLD",
       coalesce(sum(customers) FILTER (WHERE to_grade = 'VIP'), 0)::bigint AS "to VIP",
       coalesce(sum(customers) FILTER (WHERE to_grade = 'VVIP'), 0)::bigint AS "to VVIP"
FROM unnest(ARRAY['BRONZE', 'SILVER', 'GOLD', 'VIP', 'VVIP']) WITH ORDINALITY AS g (grade, rank)
LEFT JOIN moves ON from_grade = g.grade
WHERE g.grade IN (${grade:sqlstring})
GROUP BY g.grade, g.rank
ORDER BY g.rank
