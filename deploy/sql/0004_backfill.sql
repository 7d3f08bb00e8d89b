-- Progress of a backfill. One that was interrupted resumes from here.
CREATE TABLE backfill_runs (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    request     text NOT NULL,
    ends_at     timestamptz NOT NULL,
    next_day    integer NOT NULL DEFAULT 0,
    orders      bigint NOT NULL DEFAULT 0,
    started_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
COMMENT ON TABLE backfill_runs IS 'the history that was, or is being, written by a backfill';

-- Half a history has orders without customers, so nobody else may write until it is whole: the
-- backfill makes triggers of this function when it begins, and drops them when it ends. Whoever
-- comes meanwhile gets "lock not available", for which an ingest waits and tries again.
CREATE FUNCTION refuse_during_backfill() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('jangteo.backfill', true) IS DISTINCT FROM 'on' THEN
        RAISE EXCEPTION 'a backfill is half done: nobody else may write %', TG_TABLE_NAME
            USING ERRCODE = 'lock_not_available', HINT = 'let `jangteo backfill` finish, '
                'or give it up with `jangteo backfill --discard`';
    END IF;
    RETURN NULL;
END
$$;
