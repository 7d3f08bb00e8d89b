-- What lets a grader know the number of customers of each grade without counting them: it remembers
-- under which grade it counted whom, beside what they paid before the period. An incremental run
-- looks that up anyway, for the customers it looks at; who is not remembered is new.
ALTER TABLE spend_before_period ADD COLUMN grade text;
ALTER TABLE spend_before_period SET (fillfactor = 80);
COMMENT ON COLUMN spend_before_period.grade IS
    'the grade that grade_state.counts counts them under; null: not counted, there is no such customer';

-- Newer rows for spend_before_period. Rewriting a thousand rows here and there costs a page image in
-- the log for each; adding them at the end of a small table costs ten.
CREATE TABLE spend_before_recent (
    nr      bigint GENERATED ALWAYS AS IDENTITY,
    user_id bigint NOT NULL,
    spend   bigint NOT NULL,
    grade   text
);
COMMENT ON TABLE spend_before_recent IS
    'newer rows of spend_before_period, the highest nr of a customer counts; merged when they are many';

-- Counted by no run so far: the next one is full.
DELETE FROM grade_state;
ALTER TABLE grade_state ADD COLUMN counts jsonb NOT NULL;
COMMENT ON COLUMN grade_state.counts IS 'customers of each grade after the last run';

-- A row that is gone has no xmin to find it by: it leaves a mark, a change of nothing. The trigger
-- is the grader's, like those on orders.
CREATE FUNCTION keep_lost_customer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO old_order_changes (user_id, ordered_at, spend) VALUES (OLD.user_id, '-infinity', 0);
    RETURN NULL;
END
$$;

-- History is written by the run and read by the run: in this order a run's rows go to one end of the
-- index. By customer first, each row was written into a page of its own. It replaces the other index.
ALTER TABLE grade_history DROP CONSTRAINT grade_history_pkey, ADD PRIMARY KEY (as_of, user_id);
DROP INDEX grade_history_as_of;
