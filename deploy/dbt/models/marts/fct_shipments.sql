{#- Empty unless the optional topic is switched on. -#}
{{ config(indexes=[{'columns': ['order_id'], 'unique': true}]) }}
SELECT
    s.shipment_id,
    s.order_id,
    s.user_id,
    s.carrier,
    s.region,
    s.status,
    o.ordered_at,
    s.dispatched_at,
    s.dispatched_on,
    s.delivered_at,
    s.delivered_at - s.dispatched_at AS transit_time,
    s.delivered_at - o.ordered_at AS delivery_time,
    (s.delivered_at AT TIME ZONE 'Asia/Seoul')::date - s.dispatched_on AS transit_days,
    s.promised_days,
    s.is_in_time,
    s.returned_at,
    s.lost_at,
    o.amount,
    o.status AS order_status,
    s.changed_at
FROM {{ ref('stg_shipments') }} AS s
LEFT JOIN {{ ref('fct_orders') }} AS o USING (order_id)
