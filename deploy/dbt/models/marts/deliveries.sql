{#- Empty unless the optional topic is switched on. -#}
SELECT
    dispatched_on AS day,
    region,
    carrier,
    count(*) AS parcels,
    count(delivered_at) AS delivered,
    count(*) FILTER (WHERE is_in_time) AS in_time,
    count(returned_at) AS returned,
    count(lost_at) AS lost,
    avg(delivered_at - dispatched_at) AS delivery_time,
    max(changed_at) AS changed_at
FROM {{ ref('stg_shipments') }}
GROUP BY dispatched_on, region, carrier
