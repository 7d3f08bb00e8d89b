SELECT
    user_id,
    change_id,
    rev,
    kind,
    kind = 'CLOSED' AS is_closed,
    name IS NULL AS is_erased,
    city,
    marketing_consent,
    valid_from,
    coalesce(valid_to, 'infinity') AS valid_to,
    current AS is_current,
    changed_at
FROM {{ source('shop', 'users_history') }}
