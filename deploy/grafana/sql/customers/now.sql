-- As of now, whatever the range, but for the sign-ups of its days of Seoul. A stub is a customer of
-- whom only orders have arrived yet.
SELECT coalesce(sum(customers), 0)::bigint + (SELECT count(*) FROM users WHERE created_at IS NULL)
           AS "customers",
       coalesce(sum(customers) FILTER (
           WHERE day BETWEEN ($__timeFrom()::timestamptz AT TIME ZONE 'Asia/Seoul')::date
                     AND ($__timeTo()::timestamptz AT TIME ZONE 'Asia/Seoul')::date), 0)::bigint
           AS "signed up in this range",
       (SELECT count(*) FROM users WHERE created_at IS NULL) AS "stubs"
FROM sign_ups_by_day
