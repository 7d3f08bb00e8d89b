-- Offsets are not messages: transactions write control records, compaction and retention remove
-- records. What an offset advanced over without a message is counted, so that the sums still match:
-- next_offset = stored + rejected + ignored + gaps + lost, for a log that was read from offset 0.
ALTER TABLE ingest_offsets
    ADD COLUMN gaps bigint NOT NULL DEFAULT 0,
    ADD COLUMN lost bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN ingest_offsets.gaps IS
    'offsets passed that held no message: transaction markers, aborted or compacted records';
COMMENT ON COLUMN ingest_offsets.lost IS
    'offsets that an operator skipped with `jangteo topics accept-loss`: no longer in the log';
