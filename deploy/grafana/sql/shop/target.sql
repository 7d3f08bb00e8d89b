-- Revenue of each full day of Seoul, and its target: the median of the same weekday in the four
-- weeks before, which one sale does not move, plus the per cent chosen above.
WITH days AS (
    SELECT (hour AT TIME ZONE 'Asia/Seoul')::date AS day, sum(spend) AS spend
    FROM sales_by_hour
    WHERE hour >= $__timeFrom()::timestamptz - interval '29 days' AND hour <= $__timeTo()::timestamptz
    GROUP BY 1
)
SELECT d.day::timestamp AT TIME ZONE 'Asia/Seoul' AS time,
       d.spend::bigint AS "revenue",
       round(percentile_cont(0.5) WITHIN GROUP (ORDER BY b.spend) * (1 + $target / 100.0))::bigint AS "target"
FROM days AS d
JOIN days AS b ON b.day IN (d.day - 7, d.day - 14, d.day - 21, d.day - 28)
WHERE d.day >= ($__timeFrom()::timestamptz AT TIME ZONE 'Asia/Seoul')::date
  AND d.day < (now() AT TIME ZONE 'Asia/Seoul')::date
GROUP BY d.day, d.spend
ORDER BY d.day
