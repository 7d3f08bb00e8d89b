{#- Empty unless the optional topic is switched on. A run works out the visits of which a view was
    stored since the last one. -#}
{{ config(
    materialized='incremental',
    unique_key='session_id',
    incremental_strategy='delete+insert',
    on_schema_change='fail',
    indexes=[
        {'columns': ['session_id'], 'unique': true},
        {'columns': ['order_id']},
        {'columns': ['changed_at'], 'type': 'brin'},
    ],
) }}
SELECT
    session_id,
    user_id,
    channel,
    device,
    max(referrer) AS referrer,
    count(*) AS views,
    count(DISTINCT product_id) AS products,
    bool_or(page = 'PRODUCT') AS saw_product,
    bool_or(page = 'BASKET') AS saw_basket,
    bool_or(page = 'CHECKOUT') AS saw_checkout,
    bool_or(page = 'SIGN_UP') AS is_sign_up,
    max(order_id) AS order_id,
    min(viewed_at) AS began_at,
    max(viewed_at) AS ended_at,
    (min(viewed_at) AT TIME ZONE 'Asia/Seoul')::date AS began_on,
    max(changed_at) AS changed_at
FROM {{ ref('stg_page_views') }}
{{ only_changed('session_id', 'stg_page_views') }}
GROUP BY session_id, user_id, channel, device
