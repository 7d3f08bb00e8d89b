{#- Empty unless the optional topic is switched on. Each paid order with a visit counts twice: for the
    channel of that visit, and for the one of the visit in which its customer signed up. -#}
WITH won AS (
    SELECT DISTINCT ON (user_id) user_id, channel
    FROM {{ ref('fct_visits') }}
    WHERE is_sign_up
    ORDER BY user_id, began_at, session_id
),

touches AS (
    SELECT
        o.ordered_on AS day,
        o.spend,
        v.channel AS last_touch,
        coalesce(w.channel, 'UNKNOWN') AS first_touch
    FROM {{ ref('fct_orders') }} AS o
    INNER JOIN {{ ref('fct_visits') }} AS v USING (order_id)
    LEFT JOIN won AS w ON w.user_id = o.user_id
    WHERE o.status = 'PAID'
)

SELECT
    t.day,
    c.channel,
    count(*) FILTER (WHERE c.is_last) AS last_touch_orders,
    coalesce(sum(t.spend) FILTER (WHERE c.is_last), 0)::bigint AS last_touch_spend,
    count(*) FILTER (WHERE NOT c.is_last) AS first_touch_orders,
    coalesce(sum(t.spend) FILTER (WHERE NOT c.is_last), 0)::bigint AS first_touch_spend
FROM touches AS t
CROSS JOIN LATERAL (VALUES (t.last_touch, true), (t.first_touch, false)) AS c (channel, is_last)
GROUP BY t.day, c.channel
