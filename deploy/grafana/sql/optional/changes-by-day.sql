-- What customers changed on each day of Seoul; sign-ups are not in it. Empty unless the shop was
-- started with --with changes.
SELECT date_trunc('day', updated_at, 'Asia/Seoul') AS time,
       count(*) FILTER (WHERE kind = 'MOVED') AS "moved",
       count(*) FILTER (WHERE kind = 'CONSENT') AS "changed consent",
       count(*) FILTER (WHERE kind = 'RENAMED') AS "renamed",
       count(*) FILTER (WHERE kind = 'CLOSED') AS "closed"
FROM customer_changes
WHERE $__timeFilter(updated_at) AND kind <> 'SIGNED_UP'
GROUP BY 1
ORDER BY 1
