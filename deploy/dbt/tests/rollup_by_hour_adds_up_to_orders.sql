-- What detached and dropped months sold stays in the rollup.
WITH by_order AS (
    SELECT
        hour,
        scenario,
        sum(orders) AS orders,
        sum(spend) AS spend,
        sum(cancelled) AS cancelled,
        sum(refunded) AS refunded
    FROM (
        SELECT
            date_trunc('hour', ordered_at, 'UTC') AS hour,
            scenario,
            (status = 'PAID')::integer AS orders,
            CASE WHEN is_paid THEN amount ELSE 0 END AS spend,
            (status = 'CANCELLED')::integer AS cancelled,
            (status = 'REFUNDED')::integer AS refunded
        FROM {{ ref('stg_orders') }}
        UNION ALL
        SELECT hour, scenario, orders, spend, cancelled, refunded
        FROM {{ source('shop', 'detached_sales') }} WHERE hour IS NOT NULL
    ) AS counted
    GROUP BY hour, scenario
)

SELECT hour, scenario
FROM by_order AS o
FULL JOIN {{ source('shop', 'sales_by_hour') }} AS r USING (hour, scenario)
WHERE (coalesce(o.orders, 0), coalesce(o.spend, 0), coalesce(o.cancelled, 0), coalesce(o.refunded, 0))
    <> (coalesce(r.orders, 0), coalesce(r.spend, 0), coalesce(r.cancelled, 0), coalesce(r.refunded, 0))
