-- Days of Seoul.
SELECT day::timestamp AT TIME ZONE 'Asia/Seoul' AS time, customers AS "sign-ups"
FROM sign_ups_by_day
WHERE day BETWEEN ($__timeFrom()::timestamptz AT TIME ZONE 'Asia/Seoul')::date
              AND ($__timeTo()::timestamptz AT TIME ZONE 'Asia/Seoul')::date
ORDER BY 1
