SELECT
    order_id,
    product_id,
    unit_price,
    list_price,
    product_rev,
    sale_status
FROM {{ source('shop', 'order_prices') }}
