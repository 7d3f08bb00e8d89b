-- As of now, whatever the range: everybody begins as BRONZE, and each change moves one customer.
WITH grades AS (
    SELECT * FROM unnest(ARRAY['BRONZE', 'SILVER', 'GOLD', 'VIP', 'VVIP']) WITH ORDINALITY
        AS g (grade, rank)
), moved AS (
    SELECT to_grade AS grade, customers FROM grade_moves_by_day
    UNION ALL
    SELECT from_grade, -customers FROM grade_moves_by_day
    UNION ALL
    SELECT 'BRONZE', customers FROM sign_ups_by_day
    UNION ALL
    SELECT 'BRONZE', count(*) FROM users WHERE created_at IS NULL
)
SELECT g.grade AS "grade", coalesce(sum(m.customers), 0)::bigint AS "customers"
FROM grades AS g LEFT JOIN moved AS m USING (grade)
WHERE g.grade IN (${grade:sqlstring})
GROUP BY g.grade, g.rank
ORDER BY g.rank
