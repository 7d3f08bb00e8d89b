-- Money is what was PAID and not taken back, in KRW, from the first full hour of the range; sign-ups
-- are those of its days of Seoul.
SELECT coalesce(sum(spend), 0)::bigint AS "revenue",
       coalesce(sum(orders), 0)::bigint AS "orders paid",
       round(sum(spend) / nullif(sum(orders), 0)) AS "average order",
       round(100.0 * sum(cancelled + refunded) / nullif(sum(orders + cancelled + refunded), 0), 1)
           AS "taken back, per cent",
       (SELECT coalesce(sum(customers), 0)::bigint FROM sign_ups_by_day
        WHERE day BETWEEN ($__timeFrom()::timestamptz AT TIME ZONE 'Asia/Seoul')::date
                      AND ($__timeTo()::timestamptz AT TIME ZONE 'Asia/Seoul')::date) AS "sign-ups"
FROM sales_by_hour
WHERE $__timeFilter(hour) AND scenario IN (${scenario:sqlstring})
