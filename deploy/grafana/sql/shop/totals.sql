-- Money is what was PAID and not taken back, in KRW.
SELECT coalesce(sum(amount) FILTER (WHERE status = 'PAID'), 0) AS "revenue",
       count(*) FILTER (WHERE status = 'PAID') AS "orders paid",
       round(avg(amount) FILTER (WHERE status = 'PAID')) AS "average order",
       count(DISTINCT user_id) FILTER (WHERE status = 'PAID') AS "customers who bought"
FROM orders
WHERE $__timeFilter(ordered_at)
