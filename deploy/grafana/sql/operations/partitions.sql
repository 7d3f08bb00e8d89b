-- How far each partition is applied; of the topics as they are now (a recreated topic has another
-- log, whose partitions begin at 0).
SELECT topic AS "topic", partition AS "partition", next_offset AS "next offset",
       stored AS "stored", ignored AS "ignored", rejected AS "rejected",
       extract(epoch FROM now() - updated_at)::bigint AS "newest batch"
FROM (SELECT *, max(updated_at) OVER (PARTITION BY topic, log_id) AS used
      FROM ingest_offsets) AS o
WHERE used = (SELECT max(updated_at) FROM ingest_offsets AS i WHERE i.topic = o.topic)
ORDER BY topic, partition
