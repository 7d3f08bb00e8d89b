{#- Empty unless changes are switched on. -#}
{{ config(indexes=[{'columns': ['order_id'], 'unique': true}]) }}
SELECT
    o.order_id,
    o.user_id,
    o.product_id,
    o.ordered_at,
    o.ordered_on,
    o.status,
    o.spend,
    v.change_id,
    v.city,
    split_part(v.city, ' ', 1) AS province,
    v.marketing_consent,
    p.unit_price,
    p.list_price,
    p.unit_price = p.list_price AS is_list_price,
    p.product_rev,
    p.sale_status
FROM {{ ref('fct_orders') }} AS o
INNER JOIN {{ ref('stg_customer_versions') }} AS v
    ON v.user_id = o.user_id AND v.valid_from <= o.ordered_at AND o.ordered_at < v.valid_to
LEFT JOIN {{ ref('stg_order_prices') }} AS p USING (order_id)
