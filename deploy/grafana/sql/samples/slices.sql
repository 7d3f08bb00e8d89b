-- Slices of the range of which a share has about as many orders as `sample` wants, or all of them. The
-- id of an order has its time, in ms since 2020 before 12 bits.
bounds AS (
    SELECT greatest((extract(epoch FROM $__timeFrom()::timestamptz)::bigint - 1577836800) * 1000,
                    sample.oldest_id >> 12) AS since,
           (extract(epoch FROM least($__timeTo()::timestamptz, now())) * 1000)::bigint
               - 1577836800000 AS until,
           sample.orders AS wanted
    FROM sample
),
shares AS (
    SELECT b.since, b.until - b.since AS length, least(1, b.wanted / (
        SELECT greatest(1, sum(orders + cancelled + refunded)) FROM sales_by_hour
        WHERE hour BETWEEN to_timestamp(b.since / 1000 + 1577836800) - interval '1 hour'
          AND to_timestamp(b.until / 1000 + 1577836800)))::float8 AS share
    FROM bounds AS b
),
slices AS (
    SELECT share, CASE WHEN length > 8e9 THEN 'week' ELSE 'day' END AS unit,
           since + (n * length / 997.0)::bigint << 12 AS first,
           since + ((n + share) * length / 997.0)::bigint << 12 AS beyond
    FROM shares CROSS JOIN generate_series(0, 996) AS n
)
