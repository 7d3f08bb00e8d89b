-- What people did that PostgreSQL knows of: histories, windows rebuilt, dead letters replayed, full
-- runs of the grader that found an incremental one wrong.
SELECT finished_at AS time, 'jangteo backfill: ' || orders || ' orders' AS text
FROM backfill_runs WHERE $__timeFilter(finished_at)
UNION ALL
SELECT changed_at, 'jangteo windows rebuild: ' || seconds || ' s'
FROM spend_window_length WHERE changed_at > ingested_at AND $__timeFilter(changed_at)
UNION ALL
SELECT date_trunc('minute', replayed_at), 'jangteo dlq replay: ' || count(*) || ' of ' || topic
FROM rejected_messages WHERE $__timeFilter(replayed_at) GROUP BY 1, topic
UNION ALL
SELECT finished_at, 'jangteo grade --full: ' || disagreed || ' grades were wrong'
FROM grade_runs WHERE disagreed > 0 AND $__timeFilter(finished_at)
ORDER BY 1
