-- Where the parcels of the orders of each day of Seoul are now, or of each week in ranges of more than
-- 92 days; from about 20,000 of them where there are more.
WITH {{ parcels }}
SELECT day AS time,
       round(count(*) FILTER (WHERE status = 'DELIVERED') / max(share))::bigint AS "delivered",
       round(count(*) FILTER (WHERE status IN ('DISPATCHED', 'IN_TRANSIT')) / max(share))::bigint
           AS "on the way",
       round(count(*) FILTER (WHERE status = 'RETURNED') / max(share))::bigint AS "returned",
       round(count(*) FILTER (WHERE status = 'LOST') / max(share))::bigint AS "lost"
FROM parcels
GROUP BY 1
ORDER BY 1
