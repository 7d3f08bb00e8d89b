-- Today in Seoul until the last full hour, against the mean of these hours of the same weekday in the
-- four weeks before, plus the target's per cent.
WITH moment AS (
    SELECT date_trunc('day', until, 'Asia/Seoul') AS since, until
    FROM date_trunc('hour', least($__timeTo()::timestamptz, now())) AS until
), hours AS (
    SELECT weeks, sum(s.spend) AS spend, sum(s.orders) AS orders
    FROM moment CROSS JOIN generate_series(0, 4) AS weeks
    JOIN sales_by_hour AS s ON s.hour >= since - make_interval(days => 7 * weeks)
                           AND s.hour < until - make_interval(days => 7 * weeks)
    GROUP BY weeks
)
SELECT coalesce(max(spend) FILTER (WHERE weeks = 0), 0)::bigint AS "revenue today",
       coalesce(max(orders) FILTER (WHERE weeks = 0), 0)::bigint AS "orders today",
       coalesce(round(avg(spend) FILTER (WHERE weeks > 0) * (1 + $target / 100.0)), 0)::bigint
           AS "target until now",
       coalesce(round(100.0 * max(spend) FILTER (WHERE weeks = 0)
             / nullif(avg(spend) FILTER (WHERE weeks > 0) * (1 + $target / 100.0), 0), 1), 0)
           AS "of target, per cent"
FROM hours
