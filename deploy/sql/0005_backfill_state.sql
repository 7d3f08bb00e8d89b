-- What a finished history leaves for those who go on with it: the simulation at the beginning of
-- its last day, and the cancellations and refunds that are still to come. About 30 MB for a year
-- at the seed's rate and 400,000 customers.
CREATE TABLE backfill_state (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    day         integer NOT NULL,
    state       bytea NOT NULL,
    pending     bytea NOT NULL
);
-- Both are compressed already.
ALTER TABLE backfill_state ALTER COLUMN state SET STORAGE EXTERNAL,
                           ALTER COLUMN pending SET STORAGE EXTERNAL;
COMMENT ON TABLE backfill_state IS 'from where a finished backfill is continued';
