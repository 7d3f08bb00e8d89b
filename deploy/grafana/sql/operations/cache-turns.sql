-- The customers cached by the rule of 600 who waited longest since their last order: how long the
-- first and the last of them have waited. They take turns if both stay far below the range.
SELECT extract(epoch FROM now() - min(last_ordered_at))::bigint AS "waits longest",
       extract(epoch FROM now() - max(last_ordered_at))::bigint AS "waits shortest"
FROM (SELECT last_ordered_at FROM users
      WHERE last_ordered_at IS NOT NULL AND created_at IS NOT NULL
      ORDER BY last_ordered_at
      LIMIT 600) AS waiting
