-- Parcels of the orders of this range, from about 20,000 of them where there are more; the delivery
-- time is from order to delivery.
WITH {{ parcels }}
SELECT round(count(*) / max(share))::bigint AS "dispatched",
       round(count(*) FILTER (WHERE status IN ('DISPATCHED', 'IN_TRANSIT')) / max(share))::bigint
           AS "on the way",
       coalesce(round((extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (
           ORDER BY delivered_at
               - to_timestamp((shipment_id >> 12) / 1000 + 1577836800))) / 86400)::numeric, 2), 0)
           AS "median days to delivery",
       coalesce(round(100.0 * count(*) FILTER (
           WHERE (delivered_at AT TIME ZONE 'Asia/Seoul')::date
               <= (dispatched_at AT TIME ZONE 'Asia/Seoul')::date + promised_days)
           / nullif(count(delivered_at), 0), 1), 0) AS "in time, per cent",
       round(100.0 * count(returned_at) / count(*), 1) AS "returned, per cent",
       round(1000.0 * count(lost_at) / count(*), 1) AS "lost of a thousand"
FROM parcels
HAVING count(*) > 0
