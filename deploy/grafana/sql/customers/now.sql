-- As of now, whatever the range. A stub is a customer of whom only orders have arrived yet.
SELECT count(*) AS "customers",
       count(*) FILTER (WHERE last_ordered_at IS NOT NULL) AS "ordered",
       count(*) FILTER (WHERE last_ordered_at IS NULL) AS "never ordered",
       count(*) FILTER (WHERE created_at IS NULL) AS "stubs"
FROM users
