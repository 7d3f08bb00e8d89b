-- About 10,000 orders of the range with their baskets, or all where there are fewer.
sample AS (SELECT min(order_id) AS oldest_id, 10000.0 AS orders FROM baskets),
{{ slices }},
lines AS (
    SELECT l.*, s.share, date_trunc(s.unit, l.ordered_at, 'Asia/Seoul') AS day
    FROM slices AS s CROSS JOIN LATERAL (
        SELECT * FROM baskets WHERE order_id >= s.first AND order_id < s.beyond
        ORDER BY order_id LIMIT 500
    ) AS l
)
