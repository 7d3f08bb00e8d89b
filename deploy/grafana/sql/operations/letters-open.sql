-- Rejected and not yet replayed, whatever the range: `jangteo dlq`.
SELECT topic AS "topic", reason AS "reason", coalesce(field, '') AS "field",
       count(*) AS "letters", max(rejected_at) AS "newest"
FROM rejected_messages
WHERE replayed_at IS NULL
GROUP BY 1, 2, 3
ORDER BY 4 DESC
