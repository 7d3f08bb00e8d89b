-- What customers changed on each day of Seoul, sign-ups left out; from every block of the table up to
-- 4,000, and from about as many where it has more.
WITH sampled AS (
    SELECT least(1, 4000.0 * current_setting('block_size')::integer
                    / greatest(1, pg_relation_size('customer_changes'))) AS share
)
SELECT date_trunc('day', c.updated_at, 'Asia/Seoul') AS time,
       round(count(*) FILTER (WHERE c.kind = 'MOVED') / max(s.share))::bigint AS "moved",
       round(count(*) FILTER (WHERE c.kind = 'CONSENT') / max(s.share))::bigint AS "changed consent",
       round(count(*) FILTER (WHERE c.kind = 'RENAMED') / max(s.share))::bigint AS "renamed",
       round(count(*) FILTER (WHERE c.kind = 'CLOSED') / max(s.share))::bigint AS "closed"
FROM sampled AS s
CROSS JOIN LATERAL (
    SELECT * FROM customer_changes TABLESAMPLE SYSTEM (100 * s.share) REPEATABLE (1)
) AS c
WHERE $__timeFilter(c.updated_at) AND c.kind <> 'SIGNED_UP'
GROUP BY 1
ORDER BY 1
