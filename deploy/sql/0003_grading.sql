-- What lets a grader start from its last run. A customer's spend in the period is
--     users.total_spent - what they paid before the period - what is dated ahead of the run,
-- so a run needs the customers whose row changed, the orders that left the period meanwhile, and
-- the changes to orders older than the period. The last are kept by triggers on orders, which the
-- grader makes: their WHEN is a constant, and no order that is younger costs more than one look.
CREATE TABLE spend_before_period (
    user_id bigint PRIMARY KEY,
    spend   bigint NOT NULL
);
COMMENT ON TABLE spend_before_period IS 'PAID orders before grade_state.period_start, KRW; the grader''s';

CREATE TABLE old_order_changes (
    xact       xid8 NOT NULL DEFAULT pg_current_xact_id(),
    user_id    bigint NOT NULL,
    ordered_at timestamptz NOT NULL,
    spend      bigint NOT NULL
);
COMMENT ON TABLE old_order_changes IS 'changes to old orders that no grader has taken in yet; kept by triggers';

CREATE TABLE grade_state (
    only_row      boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    as_of         timestamptz NOT NULL,
    period_start  timestamptz NOT NULL,
    policy        text NOT NULL,
    snapshot      pg_snapshot NOT NULL,
    place         text NOT NULL,
    logged_before timestamptz NOT NULL,
    full_at       timestamptz NOT NULL
);
COMMENT ON COLUMN grade_state.snapshot IS 'what the last run saw';
COMMENT ON COLUMN grade_state.place IS
    'cluster, database and files: a restored or truncated table is not the one that was seen';
COMMENT ON COLUMN grade_state.logged_before IS 'triggers keep changes to orders older than this';

CREATE FUNCTION keep_old_order_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.status = 'PAID' THEN
        INSERT INTO old_order_changes (user_id, ordered_at, spend)
        VALUES (OLD.user_id, OLD.ordered_at, -OLD.amount);
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.status = 'PAID' THEN
        INSERT INTO old_order_changes (user_id, ordered_at, spend)
        VALUES (NEW.user_id, NEW.ordered_at, NEW.amount);
    END IF;
    RETURN NULL;
END
$$;

-- For who is about to write history in bulk: no trigger slows it, and the next run is a full one.
CREATE FUNCTION forget_grade_state() RETURNS void LANGUAGE sql AS $$
    DROP TRIGGER IF EXISTS old_order_insert ON orders;
    DROP TRIGGER IF EXISTS old_order_update ON orders;
    DROP TRIGGER IF EXISTS old_order_delete ON orders;
    DELETE FROM grade_state;
$$;

ALTER TABLE grade_runs
    ADD COLUMN examined bigint, ADD COLUMN disagreed bigint,
    ADD COLUMN read_seconds double precision, ADD COLUMN compute_seconds double precision,
    ADD COLUMN write_seconds double precision;
COMMENT ON COLUMN grade_runs.examined IS 'customers whose spend was worked out';
COMMENT ON COLUMN grade_runs.disagreed IS
    'customers whom an incremental run would have got wrong; null where none could be compared';
