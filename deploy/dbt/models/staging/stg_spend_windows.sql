SELECT
    user_id,
    window_start,
    orders,
    spend,
    changed_at
FROM {{ source('shop', 'user_spend_windows') }}
