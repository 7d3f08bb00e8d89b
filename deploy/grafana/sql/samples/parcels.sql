-- About 20,000 parcels of the orders of the range, or all where there are fewer.
sample AS (SELECT min(shipment_id) AS oldest_id, 20000.0 AS orders FROM shipments),
{{ slices }},
parcels AS (
    SELECT p.*, s.share,
           date_trunc(s.unit, to_timestamp((p.shipment_id >> 12) / 1000 + 1577836800),
                      'Asia/Seoul') AS day
    FROM slices AS s CROSS JOIN LATERAL (
        SELECT * FROM shipments WHERE shipment_id >= s.first AND shipment_id < s.beyond
        ORDER BY shipment_id LIMIT 500
    ) AS p
)
