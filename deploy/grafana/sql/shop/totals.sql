-- Money is what was PAID and not taken back, in KRW, from the first full hour of the range.
-- Customers: whose newest order, cancelled or not, is in the range.
SELECT coalesce(sum(spend), 0)::bigint AS "revenue",
       coalesce(sum(orders), 0)::bigint AS "orders paid",
       round(sum(spend) / nullif(sum(orders), 0)) AS "average order",
       (SELECT count(*) FROM users WHERE $__timeFilter(last_ordered_at)) AS "customers who ordered"
FROM sales_by_hour
WHERE $__timeFilter(hour)
