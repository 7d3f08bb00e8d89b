-- A half-done backfill goes on by simulating again the days that are written. Where that comes to
-- something else (another kind of processor, another version of NumPy), it must not go on.
ALTER TABLE backfill_runs ADD COLUMN fingerprint bigint;
COMMENT ON COLUMN backfill_runs.fingerprint IS
    'of the days written so far, by exclusive or; null: begun by a version that did not keep it';
