-- What is refunded was returned or lost before. Refunds after the newest step of any parcel are left
-- out: while the ingest of parcels is behind, a refund may be stored first.
SELECT s.shipment_id
FROM {{ ref('stg_shipments') }} AS s
INNER JOIN {{ ref('stg_orders') }} AS o USING (order_id)
WHERE o.status = 'REFUNDED'
    AND o.updated_at < (SELECT max(updated_at) FROM {{ ref('stg_shipments') }})
    AND coalesce(s.returned_at, s.lost_at, 'infinity') >= o.updated_at
