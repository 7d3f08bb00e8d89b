SELECT
    user_id,
    created_at IS NULL AS is_stub,
    created_at IS NOT NULL AND name IS NULL AS is_erased,
    gender,
    birth_year,
    city,
    grade,
    created_at AS signed_up_at,
    (created_at AT TIME ZONE 'Asia/Seoul')::date AS signed_up_on,
    date_trunc('month', created_at AT TIME ZONE 'Asia/Seoul')::date AS signed_up_month,
    last_ordered_at,
    order_count AS orders,
    total_spent AS spend,
    changed_at
FROM {{ source('shop', 'users') }}
