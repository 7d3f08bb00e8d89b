{#- Quintiles are of customers with a paid order. They are as of the newest order, not of now(), so
    that the same orders give the same scores. -#}
{{ config(indexes=[{'columns': ['user_id'], 'unique': true}]) }}
WITH newest AS (
    SELECT max(last_ordered_at) AS at FROM {{ ref('customer_months') }}
),

bought AS (
    SELECT
        user_id,
        sum(orders_placed)::bigint AS orders_placed,
        sum(orders)::bigint AS orders,
        sum(spend)::bigint AS spend,
        min(first_ordered_at) AS first_ordered_at,
        max(last_ordered_at) AS last_ordered_at,
        max(last_paid_at) AS last_paid_at
    FROM {{ ref('customer_months') }}
    GROUP BY user_id
),

scored AS (
    SELECT
        user_id,
        ntile(5) OVER (ORDER BY last_paid_at, user_id) AS recency,
        ntile(5) OVER (ORDER BY orders, spend, user_id) AS frequency,
        ntile(5) OVER (ORDER BY spend, user_id) AS monetary
    FROM bought
    WHERE orders > 0
)

SELECT
    u.user_id,
    u.is_stub,
    u.gender,
    u.birth_year,
    u.city,
    u.grade,
    u.signed_up_at,
    u.signed_up_month,
    b.first_ordered_at,
    b.last_ordered_at,
    b.last_paid_at,
    coalesce(b.orders_placed, 0) AS orders_placed,
    coalesce(b.orders, 0) AS orders,
    coalesce(b.spend, 0) AS lifetime_value,
    round(b.spend::numeric / nullif(b.orders, 0)) AS average_order,
    s.recency,
    s.frequency,
    s.monetary,
    CASE
        WHEN b.orders_placed IS NULL THEN 'never ordered'
        WHEN s.user_id IS NULL THEN 'all cancelled'
        WHEN s.recency >= 4 AND s.frequency >= 4 THEN 'champion'
        WHEN s.frequency >= 4 AND s.recency = 3 THEN 'loyal'
        WHEN s.frequency >= 4 THEN 'at risk'
        WHEN s.recency >= 4 THEN 'recent'
        WHEN s.recency = 3 THEN 'occasional'
        ELSE 'lapsed'
    END AS segment,
    n.at AS as_of
FROM {{ ref('stg_users') }} AS u
CROSS JOIN newest AS n
LEFT JOIN bought AS b USING (user_id)
LEFT JOIN scored AS s USING (user_id)
