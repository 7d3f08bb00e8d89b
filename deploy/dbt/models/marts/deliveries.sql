{#- Empty unless the optional topic is switched on. -#}
SELECT
    dispatched_on AS day,
    region,
    carrier,
    count(*) AS parcels,
    count(delivered_at) AS delivered,
    count(*) FILTER (WHERE transit_days <= 1) AS next_day,
    count(*) FILTER (WHERE is_in_time) AS in_time,
    count(returned_at) AS returned,
    count(lost_at) AS lost,
    avg(transit_time) AS mean_transit_time,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY delivery_time) AS median_delivery_time,
    max(changed_at) AS changed_at
FROM {{ ref('fct_shipments') }}
GROUP BY dispatched_on, region, carrier
