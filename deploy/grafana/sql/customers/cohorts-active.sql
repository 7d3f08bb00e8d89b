-- Of those who signed up in a month of Seoul, the per cent who paid for an order in their first
-- month, the next, and so on. Sign-ups and orders of the range only.
WITH members AS (
    SELECT user_id, date_trunc('month', created_at, 'Asia/Seoul') AS cohort
    FROM users WHERE $__timeFilter(created_at)
), sizes AS (
    SELECT cohort, count(*) AS customers FROM members GROUP BY cohort
), bought AS (
    SELECT user_id, date_trunc('month', ordered_at, 'Asia/Seoul') AS month
    FROM orders WHERE $__timeFilter(ordered_at) AND status = 'PAID'
    GROUP BY 1, 2
), active AS (
    SELECT m.cohort,
           (extract(year FROM age(b.month AT TIME ZONE 'Asia/Seoul',
                                  m.cohort AT TIME ZONE 'Asia/Seoul')) * 12
            + extract(month FROM age(b.month AT TIME ZONE 'Asia/Seoul',
                                     m.cohort AT TIME ZONE 'Asia/Seoul')))::integer AS month,
           count(*) AS customers
    FROM bought AS b JOIN members AS m USING (user_id)
    GROUP BY 1, 2
)
SELECT to_char(s.cohort AT TIME ZONE 'Asia/Seoul', 'YYYY-MM') AS "signed up",
       s.customers AS "customers",
       round(100.0 * sum(a.customers) FILTER (WHERE a.month = 0) / s.customers, 1) AS "month 0",
       round(100.0 * sum(a.customers) FILTER (WHERE a.month = 1) / s.customers, 1) AS "1",
       round(100.0 * sum(a.customers) FILTER (WHERE a.month = 2) / s.customers, 1) AS "2",
       round(100.0 * sum(a.customers) FILTER (WHERE a.month = 3) / s.customers, 1) AS "3",
       round(100.0 * sum(a.customers) FILTER (WHERE a.month = 4) / s.customers, 1) AS "4",
       round(100.0 * sum(a.customers) FILTER (WHERE a.month = 5) / s.customers, 1) AS "5",
       round(100.0 * sum(a.customers) FILTER (WHERE a.month = 6) / s.customers, 1) AS "6",
       round(100.0 * sum(a.customers) FILTER (WHERE a.month = 7) / s.customers, 1) AS "7",
       round(100.0 * sum(a.customers) FILTER (WHERE a.month = 8) / s.customers, 1) AS "8",
       round(100.0 * sum(a.customers) FILTER (WHERE a.month = 9) / s.customers, 1) AS "9",
       round(100.0 * sum(a.customers) FILTER (WHERE a.month = 10) / s.customers, 1) AS "10",
       round(100.0 * sum(a.customers) FILTER (WHERE a.month = 11) / s.customers, 1) AS "11",
       round(100.0 * sum(a.customers) FILTER (WHERE a.month = 12) / s.customers, 1) AS "12"
FROM sizes AS s LEFT JOIN active AS a USING (cohort)
GROUP BY s.cohort, s.customers
ORDER BY s.cohort
