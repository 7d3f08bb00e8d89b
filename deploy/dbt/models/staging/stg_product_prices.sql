SELECT
    product_id,
    rev,
    price,
    sale_status,
    valid_from,
    coalesce(valid_to, 'infinity') AS valid_to,
    current AS is_current,
    changed_at
FROM {{ source('shop', 'product_prices') }}
