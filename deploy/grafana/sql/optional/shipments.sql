-- Parcels dispatched in this range; delivery times are from dispatch. Empty unless the shop was
-- started with --with shipments.
SELECT count(*) AS "dispatched",
       count(*) FILTER (WHERE status IN ('DISPATCHED', 'IN_TRANSIT')) AS "on the way",
       coalesce(extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (
           ORDER BY delivered_at - dispatched_at)), 0)::float8 AS "median delivery time",
       coalesce(round(100.0 * count(*) FILTER (
           WHERE (delivered_at AT TIME ZONE 'Asia/Seoul')::date
               <= (dispatched_at AT TIME ZONE 'Asia/Seoul')::date + promised_days)
           / nullif(count(delivered_at), 0), 1), 0) AS "in time, per cent",
       count(returned_at) AS "returned",
       count(lost_at) AS "lost"
FROM shipments
WHERE $__timeFilter(dispatched_at)
