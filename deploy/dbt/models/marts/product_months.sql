{#- From the shop's own rollup, which is exact at every moment: no order is read. -#}
SELECT
    s.product_id,
    p.name,
    p.category,
    p.brand,
    p.is_stub,
    date_trunc('month', s.day)::date AS month,
    sum(s.orders)::bigint AS orders,
    sum(s.units)::bigint AS units,
    sum(s.spend)::bigint AS spend,
    rank() OVER (PARTITION BY date_trunc('month', s.day), p.category ORDER BY sum(s.spend) DESC)
        AS rank_in_category
FROM {{ source('shop', 'sales_by_product') }} AS s
INNER JOIN {{ ref('stg_products') }} AS p USING (product_id)
GROUP BY s.product_id, p.name, p.category, p.brand, p.is_stub, date_trunc('month', s.day)
