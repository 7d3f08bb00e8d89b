-- Mean days from dispatch to delivery of the parcels of this range's orders, from about 20,000 of them
-- where there are more.
WITH {{ parcels }}
SELECT coalesce(region, 'unknown') AS "region",
       extract(epoch FROM avg(delivered_at - dispatched_at))::float8 / 86400 AS "days"
FROM parcels
WHERE delivered_at IS NOT NULL
GROUP BY region
ORDER BY 2
