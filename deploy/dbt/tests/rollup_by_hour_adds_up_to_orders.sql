WITH by_order AS (
    SELECT
        date_trunc('hour', ordered_at, 'UTC') AS hour,
        scenario,
        count(*) FILTER (WHERE status = 'PAID') AS orders,
        coalesce(sum(amount) FILTER (WHERE status = 'PAID'), 0) AS spend,
        count(*) FILTER (WHERE status = 'CANCELLED') AS cancelled,
        count(*) FILTER (WHERE status = 'REFUNDED') AS refunded
    FROM {{ ref('stg_orders') }} GROUP BY 1, 2
)

SELECT hour, scenario
FROM by_order AS o
FULL JOIN {{ source('shop', 'sales_by_hour') }} AS r USING (hour, scenario)
WHERE (coalesce(o.orders, 0), coalesce(o.spend, 0), coalesce(o.cancelled, 0), coalesce(o.refunded, 0))
    <> (coalesce(r.orders, 0), coalesce(r.spend, 0), coalesce(r.cancelled, 0), coalesce(r.refunded, 0))
