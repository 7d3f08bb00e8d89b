-- Of the orders that had changed by the newest one that was read, less the look-back: what a running
-- shop has stored since is not in the table yet.
WITH horizon AS (
    SELECT max(changed_at) - interval '{{ var("look_back") }}' AS at FROM {{ ref('fct_orders') }}
)

SELECT o.order_id, o.rev, f.rev AS rev_read
FROM {{ ref('stg_orders') }} AS o
CROSS JOIN horizon AS h
LEFT JOIN {{ ref('fct_orders') }} AS f USING (order_id)
WHERE o.changed_at <= h.at AND (f.rev, f.amount, f.status) IS DISTINCT FROM (o.rev, o.amount, o.status)
