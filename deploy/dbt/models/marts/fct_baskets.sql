{#- Empty unless the optional topic is switched on. -#}
{{ config(indexes=[{'columns': ['basket_id'], 'unique': true}]) }}
SELECT
    b.basket_id,
    b.user_id,
    min(b.ordered_at) AS placed_at,
    min(b.ordered_on) AS placed_on,
    count(*) AS lines,
    count(*) FILTER (WHERE o.status = 'PAID') AS paid_lines,
    sum(o.quantity)::bigint AS units,
    max(b.coupon) AS coupon,
    sum(b.coupon_discount)::bigint AS coupon_discount,
    sum(o.discount - b.coupon_discount)::bigint AS sale_discount,
    sum(o.spend)::bigint AS spend,
    max(greatest(b.changed_at, o.changed_at)) AS changed_at
FROM {{ ref('stg_baskets') }} AS b
INNER JOIN {{ ref('fct_orders') }} AS o USING (order_id)
GROUP BY b.basket_id, b.user_id
