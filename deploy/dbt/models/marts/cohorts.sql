{#- A stub has no month of sign-up and is in no cohort. Sign-up is an event's time and may be later
    than the month of an order that came with a fault; such orders count in month 0. -#}
WITH sizes AS (
    SELECT signed_up_month, count(*) AS customers
    FROM {{ ref('customers') }}
    WHERE NOT is_stub
    GROUP BY signed_up_month
),

active AS (
    SELECT
        c.signed_up_month,
        greatest(0, (extract(year FROM age(m.month, c.signed_up_month)) * 12
                     + extract(month FROM age(m.month, c.signed_up_month)))::integer) AS month_number,
        m.user_id,
        m.orders,
        m.spend
    FROM {{ ref('customer_months') }} AS m
    INNER JOIN {{ ref('customers') }} AS c USING (user_id)
    WHERE NOT c.is_stub
),

months AS (
    SELECT
        signed_up_month,
        month_number,
        count(DISTINCT user_id) FILTER (WHERE orders > 0) AS buyers,
        sum(orders)::bigint AS orders,
        sum(spend)::bigint AS spend
    FROM active
    GROUP BY signed_up_month, month_number
)

SELECT
    s.signed_up_month,
    m.month_number,
    s.customers,
    m.buyers,
    m.orders,
    m.spend,
    round(100.0 * m.buyers / s.customers, 2) AS buyers_percent,
    sum(m.spend) OVER running::bigint AS spend_so_far,
    round(sum(m.spend) OVER running / s.customers) AS lifetime_value_each
FROM sizes AS s
INNER JOIN months AS m USING (signed_up_month)
WINDOW running AS (PARTITION BY s.signed_up_month ORDER BY m.month_number)
