-- A visit places at most one order (order_id is unique in fct_visits, and one view of the visit has it),
-- which is of the visit's customer and of the time of that view.
SELECT w.view_id
FROM {{ ref('stg_page_views') }} AS w
LEFT JOIN {{ ref('stg_orders') }} AS o USING (order_id)
WHERE w.order_id IS NOT NULL
    AND (
        o.user_id <> w.user_id
        OR o.ordered_at <> w.viewed_at
        OR w.page <> 'CHECKOUT'
        OR (o.order_id IS NULL AND NOT EXISTS (SELECT 1 FROM {{ source('shop', 'detached_spend') }}))
    )
UNION ALL
SELECT session_id
FROM {{ ref('stg_page_views') }}
WHERE order_id IS NOT NULL
GROUP BY session_id
HAVING count(*) > 1
