-- The newest of the range, without their bytes: `jangteo dlq show TOPIC PARTITION OFFSET` has them.
SELECT rejected_at AS "rejected", topic AS "topic", partition AS "partition",
       "offset" AS "offset", reason AS "reason", coalesce(field, '') AS "field",
       replayed_at AS "replayed"
FROM rejected_messages
WHERE $__timeFilter(rejected_at)
ORDER BY rejected_at DESC, topic, partition, "offset"
LIMIT 50
