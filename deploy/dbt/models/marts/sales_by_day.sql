{#- A run works out the days whose orders changed, all of each. -#}
{{ config(
    materialized='incremental',
    unique_key='day',
    incremental_strategy='delete+insert',
    on_schema_change='fail',
    indexes=[{'columns': ['day', 'scenario', 'payment_method'], 'unique': true}],
) }}
SELECT
    ordered_on AS day,
    scenario,
    payment_method,
    count(*) FILTER (WHERE status = 'PAID') AS orders,
    count(*) FILTER (WHERE status = 'CANCELLED') AS cancelled,
    count(*) FILTER (WHERE status = 'REFUNDED') AS refunded,
    coalesce(sum(quantity) FILTER (WHERE status = 'PAID'), 0)::bigint AS units,
    coalesce(sum(discount) FILTER (WHERE status = 'PAID'), 0)::bigint AS discount,
    sum(spend)::bigint AS spend,
    count(DISTINCT user_id) FILTER (WHERE status = 'PAID') AS buyers,
    max(changed_at) AS changed_at
FROM {{ ref('fct_orders') }}
{{ only_changed('ordered_on') }}
GROUP BY ordered_on, scenario, payment_method
