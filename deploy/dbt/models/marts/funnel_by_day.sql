{#- Empty unless the optional topic is switched on. -#}
SELECT
    v.began_on AS day,
    v.channel,
    v.device,
    count(*) AS visits,
    count(*) FILTER (WHERE v.views = 1) AS bounces,
    count(*) FILTER (WHERE v.saw_product) AS saw_product,
    count(*) FILTER (WHERE v.saw_basket) AS saw_basket,
    count(*) FILTER (WHERE v.saw_checkout) AS saw_checkout,
    count(v.order_id) AS orders,
    coalesce(sum(o.spend), 0)::bigint AS spend,
    sum(v.views)::bigint AS views,
    max(v.changed_at) AS changed_at
FROM {{ ref('fct_visits') }} AS v
LEFT JOIN {{ ref('fct_orders') }} AS o USING (order_id)
GROUP BY v.began_on, v.channel, v.device
