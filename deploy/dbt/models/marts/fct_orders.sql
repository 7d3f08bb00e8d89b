{#- Every order, as of its newest revision. A run reads what changed since the last one and a
    look-back: reading an order twice changes nothing, as it replaces its row. -#}
{{ config(
    materialized='incremental',
    unique_key='order_id',
    incremental_strategy='delete+insert',
    on_schema_change='fail',
    indexes=[
        {'columns': ['order_id'], 'unique': true},
        {'columns': ['user_id']},
        {'columns': ['changed_at'], 'type': 'brin'},
    ],
) }}
SELECT
    order_id,
    rev,
    user_id,
    product_id,
    quantity,
    discount,
    amount,
    CASE WHEN is_paid THEN amount ELSE 0 END AS spend,
    payment_method,
    status,
    scenario,
    ordered_at,
    ordered_on,
    ordered_month,
    changed_at
FROM {{ ref('stg_orders') }}
{% if is_incremental() %}
WHERE changed_at > (
    SELECT max(changed_at) - interval '{{ var("look_back") }}' FROM {{ this }}
)
{% endif %}
