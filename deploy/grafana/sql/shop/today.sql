-- Today in Seoul until the last full hour, against the median of these hours of the same weekday in
-- the four weeks before, plus the target's per cent.
WITH moment AS (
    SELECT date_trunc('day', until, 'Asia/Seoul') AS since, until
    FROM date_trunc('hour', least($__timeTo()::timestamptz, now())) AS until
), hours AS (
    SELECT weeks, sum(s.spend) AS spend, sum(s.orders) AS orders
    FROM moment CROSS JOIN generate_series(0, 4) AS weeks
    JOIN sales_by_hour AS s ON s.hour >= since - make_interval(days => 7 * weeks)
                           AND s.hour < until - make_interval(days => 7 * weeks)
    GROUP BY weeks
), target AS (
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY spend) * (1 + $target / 100.0) AS spend
    FROM hours WHERE weeks > 0
)
SELECT coalesce(max(h.spend), 0)::bigint AS "revenue today",
       coalesce(max(h.orders), 0)::bigint AS "orders today",
       coalesce(round(max(t.spend)), 0)::bigint AS "target until now",
       coalesce(round((100.0 * max(h.spend)::float / nullif(max(t.spend), 0))::numeric, 1), 0)
           AS "of target, per cent"
FROM target AS t LEFT JOIN hours AS h ON h.weeks = 0
