SELECT
    view_id,
    session_id,
    user_id,
    page,
    product_id,
    order_id,
    channel,
    device,
    referrer,
    viewed_at,
    changed_at
FROM {{ source('shop', 'page_views') }}
