-- As of now, whatever the range.
SELECT g.grade AS "grade", count(u.user_id) AS "customers"
FROM unnest(ARRAY['BRONZE', 'SILVER', 'GOLD', 'VIP', 'VVIP']) WITH ORDINALITY AS g (grade, rank)
LEFT JOIN users AS u USING (grade)
GROUP BY g.grade, g.rank
ORDER BY g.rank
