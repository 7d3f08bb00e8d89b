SELECT
    product_id,
    created_at IS NULL AS is_stub,
    name,
    coalesce(category, 'unknown') AS category,
    brand,
    price,
    created_at AS listed_at,
    order_count AS orders,
    changed_at
FROM {{ source('shop', 'products') }}
