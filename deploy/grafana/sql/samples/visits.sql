-- About 6,000 visits that began in the range, or all where there are fewer: a share of each of 997
-- slices of it. The views of a visit are up to 16 consecutive numbers.
bounds AS (
    SELECT greatest($__timeFrom()::timestamptz, (SELECT min(viewed_at) FROM page_views)) AS since,
           least($__timeTo()::timestamptz, now()) AS until
),
shares AS (
    SELECT b.since, extract(epoch FROM b.until - b.since)::float8 AS seconds,
           least(1, 600.0 / (  -- an order has about ten visits
        SELECT greatest(1, sum(orders + cancelled + refunded)) FROM sales_by_hour
        WHERE hour BETWEEN b.since - interval '1 hour' AND b.until))::float8 AS share
    FROM bounds AS b
),
visits AS (
    SELECT f.session_id, f.channel, s.share, v.*,
           date_trunc(CASE WHEN s.seconds > 8e6 THEN 'week' ELSE 'day' END,
                      f.viewed_at, 'Asia/Seoul') AS day
    FROM shares AS s
    CROSS JOIN generate_series(0, 996) AS n
    CROSS JOIN LATERAL (
        SELECT s.since + interval '1 s' * (n * s.seconds / 997) AS first,
               s.since + interval '1 s' * ((n + s.share) * s.seconds / 997) AS beyond
    ) AS slice
    CROSS JOIN LATERAL (
        SELECT session_id, channel, viewed_at FROM page_views
        WHERE viewed_at >= slice.first AND viewed_at < slice.beyond AND view_id = session_id
        ORDER BY viewed_at LIMIT 500
    ) AS f
    CROSS JOIN LATERAL (
        SELECT bool_or(page = 'PRODUCT') AS product, bool_or(page = 'BASKET') AS basket,
               bool_or(page = 'CHECKOUT') AS checkout, count(order_id) > 0 AS bought
        FROM (SELECT page, order_id FROM page_views
              WHERE view_id >= f.session_id AND view_id < f.session_id + 16
              ORDER BY view_id LIMIT 16) AS w
    ) AS v
)
