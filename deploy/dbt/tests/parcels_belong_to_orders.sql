-- A parcel is of one order, of its customer, and leaves after it. Where months are detached or
-- dropped, parcels whose orders went with them stay.
SELECT s.shipment_id
FROM {{ ref('stg_shipments') }} AS s
LEFT JOIN {{ ref('stg_orders') }} AS o USING (order_id)
WHERE o.user_id <> s.user_id
    OR s.dispatched_at <= o.ordered_at
    OR s.shipment_id <> s.order_id
    OR (o.order_id IS NULL AND NOT EXISTS (SELECT 1 FROM {{ source('shop', 'detached_spend') }}))
