-- A line is an order of its customer, at the order's time, whose discount covers the coupon's; a basket
-- is named by its first line and is of one day.
SELECT b.order_id
FROM {{ ref('stg_baskets') }} AS b
LEFT JOIN {{ ref('stg_orders') }} AS o USING (order_id)
WHERE o.user_id <> b.user_id
    OR o.ordered_at <> b.ordered_at
    OR b.coupon_discount > o.discount
    OR (b.coupon IS NULL) <> (b.coupon_discount = 0)
    OR (o.order_id IS NULL AND NOT EXISTS (SELECT 1 FROM {{ source('shop', 'detached_spend') }}))
UNION ALL
SELECT basket_id
FROM {{ ref('stg_baskets') }}
GROUP BY basket_id
HAVING min(order_id) <> basket_id OR min(ordered_on) <> max(ordered_on)
