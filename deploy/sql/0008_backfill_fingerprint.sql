-- An interrupted backfill resumes by simulating again the days that are written. Where they turn out
-- different (another version of the program or of NumPy), it must not resume.
ALTER TABLE backfill_runs ADD COLUMN fingerprint bigint;
COMMENT ON COLUMN backfill_runs.fingerprint IS
    'of the days written so far, by exclusive or; null: begun by a version that did not keep it';
