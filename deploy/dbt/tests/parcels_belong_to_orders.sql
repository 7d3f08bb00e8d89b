-- A parcel is of one order, of its customer, and leaves after it.
SELECT s.shipment_id
FROM {{ ref('stg_shipments') }} AS s
LEFT JOIN {{ ref('stg_orders') }} AS o USING (order_id)
WHERE o.order_id IS NULL OR o.user_id <> s.user_id OR s.dispatched_at <= o.ordered_at
