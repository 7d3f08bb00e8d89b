-- Paid orders per 100 customers who signed up in a month of Seoul: in that month, the next, and so
-- on. Who of them bought at least once is in the dbt project's cohorts.
WITH sizes AS (
    SELECT date_trunc('month', day)::date AS cohort, sum(customers) AS customers
    FROM sign_ups_by_day GROUP BY 1
), active AS (
    SELECT cohort, orders,
           (extract(year FROM age(month, cohort)) * 12 + extract(month FROM age(month, cohort)))::integer
               AS month
    FROM sales_by_cohort
)
SELECT to_char(s.cohort, 'YYYY-MM') AS "signed up",
       s.customers::bigint AS "customers",
       round(100.0 * sum(a.orders) FILTER (WHERE a.month = 0) / s.customers, 1) AS "month 0",
       round(100.0 * sum(a.orders) FILTER (WHERE a.month = 1) / s.customers, 1) AS "1",
       round(100.0 * sum(a.orders) FILTER (WHERE a.month = 2) / s.customers, 1) AS "2",
       round(100.0 * sum(a.orders) FILTER (WHERE a.month = 3) / s.customers, 1) AS "3",
       round(100.0 * sum(a.orders) FILTER (WHERE a.month = 4) / s.customers, 1) AS "4",
       round(100.0 * sum(a.orders) FILTER (WHERE a.month = 5) / s.customers, 1) AS "5",
       round(100.0 * sum(a.orders) FILTER (WHERE a.month = 6) / s.customers, 1) AS "6",
       round(100.0 * sum(a.orders) FILTER (WHERE a.month = 7) / s.customers, 1) AS "7",
       round(100.0 * sum(a.orders) FILTER (WHERE a.month = 8) / s.customers, 1) AS "8",
       round(100.0 * sum(a.orders) FILTER (WHERE a.month = 9) / s.customers, 1) AS "9",
       round(100.0 * sum(a.orders) FILTER (WHERE a.month = 10) / s.customers, 1) AS "10",
       round(100.0 * sum(a.orders) FILTER (WHERE a.month = 11) / s.customers, 1) AS "11",
       round(100.0 * sum(a.orders) FILTER (WHERE a.month = 12) / s.customers, 1) AS "12"
FROM sizes AS s LEFT JOIN active AS a USING (cohort)
WHERE $__timeFilter(s.cohort)
GROUP BY s.cohort, s.customers
ORDER BY s.cohort
