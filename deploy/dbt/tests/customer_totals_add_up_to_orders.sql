WITH by_order AS (
    SELECT user_id, count(*) AS orders, sum(amount) AS spend
    FROM {{ ref('stg_orders') }} WHERE is_paid GROUP BY user_id
)

SELECT user_id, o.orders, u.orders AS orders_of_user, o.spend, u.spend AS spend_of_user
FROM by_order AS o
FULL JOIN {{ ref('stg_users') }} AS u USING (user_id)
WHERE (coalesce(o.orders, 0), coalesce(o.spend, 0)) IS DISTINCT FROM (u.orders, u.spend)
