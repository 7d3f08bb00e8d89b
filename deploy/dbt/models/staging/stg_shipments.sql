SELECT
    shipment_id,
    rev,
    order_id,
    user_id,
    carrier,
    coalesce(region, 'unknown') AS region,
    status,
    promised_days,
    dispatched_at,
    (dispatched_at AT TIME ZONE 'Asia/Seoul')::date AS dispatched_on,
    delivered_at,
    (delivered_at AT TIME ZONE 'Asia/Seoul')::date
    <= (dispatched_at AT TIME ZONE 'Asia/Seoul')::date + promised_days AS is_in_time,
    returned_at,
    lost_at,
    updated_at,
    changed_at
FROM {{ source('shop', 'shipments') }}
