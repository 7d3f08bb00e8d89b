-- Since the beginning, whatever the range; written in the transactions of the rows they count.
SELECT extract(epoch FROM now() - max(updated_at))::bigint AS "newest batch",
       coalesce(sum(stored), 0)::bigint AS "stored",
       coalesce(sum(ignored), 0)::bigint AS "ignored",
       coalesce(sum(rejected), 0)::bigint AS "rejected"
FROM ingest_offsets
