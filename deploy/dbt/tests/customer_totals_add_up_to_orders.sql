WITH by_order AS (
    -- What detached and dropped months counted stays in the totals.
    SELECT user_id, sum(orders) AS orders, sum(spend) AS spend
    FROM (
        SELECT user_id, 1 AS orders, amount AS spend FROM {{ ref('stg_orders') }} WHERE is_paid
        UNION ALL
        SELECT user_id, orders, spend FROM {{ source('shop', 'detached_spend') }}
    ) AS counted
    GROUP BY user_id
)

SELECT user_id, o.orders, u.orders AS orders_of_user, o.spend, u.spend AS spend_of_user
FROM by_order AS o
FULL JOIN {{ ref('stg_users') }} AS u USING (user_id)
WHERE (coalesce(o.orders, 0), coalesce(o.spend, 0)) IS DISTINCT FROM (u.orders, u.spend)
