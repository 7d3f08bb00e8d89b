-- The day of Seoul that the range ends in, up to that hour, against the same hours of the day before, of
-- the same weekday a week and 52 weeks before. Whole hours; empty: nothing was sold then.
WITH moment AS (
    SELECT date_trunc('hour', least($__timeTo()::timestamptz, now())) AS until
), day AS (
    SELECT until, date_trunc('day', until, 'Asia/Seoul') AS since FROM moment
)
SELECT p.name AS "period",
       sum(s.spend)::bigint AS "revenue",
       sum(s.orders)::bigint AS "orders paid",
       round(100.0 * (max(t.spend) - sum(s.spend)) / nullif(sum(s.spend), 0), 1) AS "today, per cent"
FROM day
CROSS JOIN (VALUES ('today', 0), ('yesterday', 1), ('a week ago', 7), ('52 weeks ago', 364))
    AS p (name, days)
CROSS JOIN LATERAL (
    SELECT sum(spend) AS spend FROM sales_by_hour WHERE hour >= day.since AND hour <= day.until
) AS t
LEFT JOIN sales_by_hour AS s ON s.hour >= day.since - make_interval(days => p.days)
                            AND s.hour <= day.until - make_interval(days => p.days)
GROUP BY p.name, p.days
ORDER BY p.days
