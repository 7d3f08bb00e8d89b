-- No snapshot matters here: these tables change only when dbt runs.
{%- set paid = "count(*) FILTER (WHERE status = 'PAID')" %}
WITH sums AS (
    SELECT 'fct_orders' AS model, {{ paid }} AS orders, sum(spend) AS spend FROM {{ ref('fct_orders') }}
    UNION ALL
    SELECT 'customer_months', sum(orders), sum(spend) FROM {{ ref('customer_months') }}
    UNION ALL
    SELECT 'customers', sum(orders), sum(lifetime_value) FROM {{ ref('customers') }}
    UNION ALL
    SELECT 'sales_by_day', sum(orders), sum(spend) FROM {{ ref('sales_by_day') }}
    UNION ALL
    SELECT 'cohorts and stubs', sum(orders), sum(spend)
    FROM (
        SELECT orders, spend FROM {{ ref('cohorts') }}
        UNION ALL
        SELECT orders, lifetime_value FROM {{ ref('customers') }} WHERE is_stub
    ) AS cohorts_and_stubs
)

SELECT s.model, s.orders, f.orders AS orders_of_fct, s.spend, f.spend AS spend_of_fct
FROM sums AS s
INNER JOIN sums AS f ON f.model = 'fct_orders'
WHERE (coalesce(s.orders, 0), coalesce(s.spend, 0)) <> (coalesce(f.orders, 0), coalesce(f.spend, 0))
