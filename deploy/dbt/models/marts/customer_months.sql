{#- What each customer ordered in each month. A run works out all months of the customers whose
    orders changed, and of nobody else. -#}
{{ config(
    materialized='incremental',
    unique_key='user_id',
    incremental_strategy='delete+insert',
    on_schema_change='fail',
    indexes=[
        {'columns': ['user_id', 'month'], 'unique': true},
        {'columns': ['changed_at'], 'type': 'brin'},
    ],
) }}
SELECT
    user_id,
    ordered_month AS month,
    count(*) AS orders_placed,
    count(*) FILTER (WHERE status = 'PAID') AS orders,
    sum(spend)::bigint AS spend,
    min(ordered_at) AS first_ordered_at,
    max(ordered_at) AS last_ordered_at,
    max(ordered_at) FILTER (WHERE status = 'PAID') AS last_paid_at,
    max(changed_at) AS changed_at
FROM {{ ref('fct_orders') }}
{{ only_changed('user_id') }}
GROUP BY user_id, ordered_month
