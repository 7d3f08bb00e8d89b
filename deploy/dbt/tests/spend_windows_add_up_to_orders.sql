-- One statement sees one snapshot, so this holds while the ingest writes.
WITH by_order AS (
    SELECT user_id, count(*) AS orders, sum(amount) AS spend
    FROM {{ ref('stg_orders') }} WHERE is_paid GROUP BY user_id
),

by_window AS (
    SELECT user_id, sum(orders) AS orders, sum(spend) AS spend
    FROM {{ ref('stg_spend_windows') }} GROUP BY user_id
)

SELECT user_id, o.orders, w.orders AS orders_of_windows, o.spend, w.spend AS spend_of_windows
FROM by_order AS o
FULL JOIN by_window AS w USING (user_id)
WHERE (coalesce(o.orders, 0), coalesce(o.spend, 0)) <> (coalesce(w.orders, 0), coalesce(w.spend, 0))
