-- Every mart of an optional topic has all of what it is made of. No snapshot matters here: these tables
-- change only when dbt runs.
WITH compared AS (
    SELECT
        'deliveries' AS model,
        (SELECT sum(parcels) FROM {{ ref('deliveries') }}) AS found,
        (SELECT count(*) FROM {{ ref('fct_shipments') }}) AS wanted
    UNION ALL
    SELECT
        'funnel_by_day',
        (SELECT sum(visits) FROM {{ ref('funnel_by_day') }}),
        (SELECT count(*) FROM {{ ref('fct_visits') }})
    UNION ALL
    SELECT
        'funnel_by_day, orders',
        (SELECT sum(orders) FROM {{ ref('funnel_by_day') }}),
        (SELECT count(order_id) FROM {{ ref('fct_visits') }})
    UNION ALL
    SELECT
        'attribution_by_day, last touch',
        (SELECT sum(last_touch_spend) FROM {{ ref('attribution_by_day') }}),
        (SELECT sum(spend) FROM {{ ref('funnel_by_day') }})
    UNION ALL
    SELECT
        'attribution_by_day, first touch',
        (SELECT sum(first_touch_spend) FROM {{ ref('attribution_by_day') }}),
        (SELECT sum(spend) FROM {{ ref('funnel_by_day') }})
    UNION ALL
    SELECT
        'customer_versions',
        (SELECT sum(spend) FROM {{ ref('customer_versions') }}),
        (SELECT sum(spend) FROM {{ ref('orders_as_of') }})
)

SELECT model, found, wanted
FROM compared
WHERE coalesce(found, 0) <> coalesce(wanted, 0)
