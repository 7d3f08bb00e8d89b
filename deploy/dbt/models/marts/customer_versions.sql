{#- Empty unless changes are switched on. -#}
{{ config(indexes=[{'columns': ['change_id'], 'unique': true}, {'columns': ['user_id']}]) }}
WITH bought AS (
    SELECT
        change_id,
        count(*) FILTER (WHERE status = 'PAID') AS orders,
        sum(spend)::bigint AS spend
    FROM {{ ref('orders_as_of') }}
    GROUP BY change_id
)

SELECT
    v.change_id,
    v.user_id,
    v.rev,
    v.kind,
    v.city,
    split_part(v.city, ' ', 1) AS province,
    v.marketing_consent,
    v.valid_from,
    v.valid_to,
    v.is_current,
    v.is_closed,
    v.is_erased,
    coalesce(b.orders, 0) AS orders,
    coalesce(b.spend, 0) AS spend,
    v.changed_at
FROM {{ ref('stg_customer_versions') }} AS v
LEFT JOIN bought AS b USING (change_id)
