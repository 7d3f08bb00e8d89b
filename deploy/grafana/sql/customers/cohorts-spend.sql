-- What those who signed up in a month of Seoul have paid so far: total_spent, no order is read.
SELECT to_char(date_trunc('month', created_at, 'Asia/Seoul') AT TIME ZONE 'Asia/Seoul', 'YYYY-MM')
           AS "signed up",
       sum(total_spent)::bigint AS "spent",
       round(avg(total_spent))::bigint AS "spent each",
       sum(order_count)::bigint AS "orders paid",
       round(100.0 * count(*) FILTER (WHERE order_count > 0) / count(*), 1) AS "buyers, per cent"
FROM users
WHERE $__timeFilter(created_at)
GROUP BY 1
ORDER BY 1
