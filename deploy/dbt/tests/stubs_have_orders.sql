-- A stub is the trace of an order that came before its customer's or product's own event, or without
-- one ever coming. A row without a profile and without an order would be something else.
SELECT 'user' AS kind, user_id AS id
FROM {{ ref('stg_users') }} AS u
WHERE is_stub
    AND NOT EXISTS (SELECT 1 FROM {{ ref('stg_orders') }} AS o WHERE o.user_id = u.user_id)
UNION ALL
SELECT 'product', product_id
FROM {{ ref('stg_products') }} AS p
WHERE is_stub
    AND NOT EXISTS (SELECT 1 FROM {{ ref('stg_orders') }} AS o WHERE o.product_id = p.product_id)
