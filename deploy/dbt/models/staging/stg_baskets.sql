SELECT
    order_id,
    basket_id,
    user_id,
    coupon,
    coupon_discount,
    ordered_at,
    (ordered_at AT TIME ZONE 'Asia/Seoul')::date AS ordered_on,
    changed_at
FROM {{ source('shop', 'baskets') }}
