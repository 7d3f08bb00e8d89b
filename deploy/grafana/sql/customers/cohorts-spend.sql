-- What those who signed up in a month of Seoul have paid so far: a month by what their ids carry.
SELECT to_char(s.cohort, 'YYYY-MM') AS "signed up",
       c.customers AS "customers",
       s.orders AS "orders paid",
       s.spend AS "spent",
       round(1.0 * s.spend / c.customers)::bigint AS "spent each",
       round(1.0 * s.orders / c.customers, 2) AS "orders each"
FROM (SELECT cohort, sum(orders)::bigint AS orders, sum(spend)::bigint AS spend
      FROM sales_by_cohort GROUP BY cohort) AS s
JOIN (SELECT date_trunc('month', day)::date AS cohort, sum(customers)::bigint AS customers
      FROM sign_ups_by_day GROUP BY 1) AS c USING (cohort)
WHERE $__timeFilter(s.cohort)
ORDER BY s.cohort
