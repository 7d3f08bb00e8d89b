-- Every table says when a row was first stored and when it was last changed, so that an incremental
-- load (dbt, CDC by query) can ask any of them. Both are now(), the beginning of the transaction: a
-- load looks back further than the longest transaction lasts. Rows that are here already get the
-- time of this migration; the default is constant, so no table is rewritten.
ALTER TABLE users
    ADD COLUMN ingested_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE products
    ADD COLUMN ingested_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE user_spend_windows
    ADD COLUMN ingested_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now();

-- The four tables above (orders has had the columns since 0010) are written by statements that set
-- changed_at themselves: a trigger costs a microsecond a row, a quarter of what an order costs. The
-- small ones have a trigger, which an UPDATE by hand passes, too.
CREATE FUNCTION touch_changed_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_at := now();
    RETURN NEW;
END
$$;
DO $$
DECLARE
    small text;
BEGIN
    FOREACH small IN ARRAY ARRAY['ingest_offsets', 'rejected_messages', 'grade_history', 'grade_runs',
        'grade_state', 'spend_before_period', 'spend_before_recent', 'old_order_changes', 'spend_window_length', 'node_leases', 'backfill_runs', 'backfill_state',
        'schema_migrations']
    LOOP
        EXECUTE format('ALTER TABLE %I ADD COLUMN ingested_at timestamptz NOT NULL DEFAULT now(),
                                       ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now()', small);
        EXECUTE format('CREATE TRIGGER touch_changed_at BEFORE UPDATE ON %I
                        FOR EACH ROW EXECUTE FUNCTION touch_changed_at()', small);
    END LOOP;
END
$$;

-- How this database is laid out; `jangteo init` reads and changes it.
CREATE TABLE schema_layout (
    only_row       boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    lookup_indexes boolean NOT NULL DEFAULT true,
    ingested_at    timestamptz NOT NULL DEFAULT now(),
    changed_at     timestamptz NOT NULL DEFAULT now()
);
CREATE TRIGGER touch_changed_at BEFORE UPDATE ON schema_layout
    FOR EACH ROW EXECUTE FUNCTION touch_changed_at();
INSERT INTO schema_layout DEFAULT VALUES;

-- What shop.events lets through, and nothing that it does. NOT VALID: new rows are held against it
-- at once, and the rows that are there by `jangteo init` afterwards, while the shop is running.
ALTER TABLE orders
    ADD CONSTRAINT orders_numbers_check CHECK (
        rev >= 1 AND quantity BETWEEN 1 AND 999 AND unit_price >= 0 AND discount >= 0
        AND amount >= 0) NOT VALID,
    ADD CONSTRAINT orders_amount_check CHECK (amount = quantity * unit_price - discount) NOT VALID;
ALTER TABLE users
    ADD CONSTRAINT users_birth_year_check CHECK (birth_year BETWEEN 1900 AND 2100) NOT VALID;
ALTER TABLE products ADD CONSTRAINT products_price_check CHECK (price >= 0) NOT VALID;

-- People look at the newest dead letters. The indexes on the large tables are not made here but by
-- shop/postgres/lookups.py: in this transaction writers would wait for them to be built.
CREATE INDEX rejected_messages_rejected_at ON rejected_messages (rejected_at);

COMMENT ON TABLE users IS 'a customer; an order may come first, and the row is a stub until then';
COMMENT ON COLUMN users.user_id IS '53-bit id, ordered by time of sign-up';
COMMENT ON COLUMN users.name IS 'of the event; null: a stub';
COMMENT ON COLUMN users.email IS 'of the event; null: a stub';
COMMENT ON COLUMN users.gender IS 'F or M; null: a stub';
COMMENT ON COLUMN users.birth_year IS 'of the event; null: a stub';
COMMENT ON COLUMN users.city IS 'of the event; null: a stub';
COMMENT ON COLUMN users.grade IS 'what the grader gave for six months of paid spend';
COMMENT ON COLUMN users.created_at IS 'sign-up; null: a stub whose user event has not arrived';
COMMENT ON TABLE products IS 'a product; an order may come first, and the row is a stub until then';
COMMENT ON COLUMN products.product_id IS '53-bit id, ordered by time of listing';
COMMENT ON COLUMN products.name IS 'of the event; null: a stub';
COMMENT ON COLUMN products.category IS 'of the event; null: a stub';
COMMENT ON COLUMN products.brand IS 'of the event; null: a stub';
COMMENT ON COLUMN products.price IS 'list price, KRW; null: a stub';
COMMENT ON COLUMN products.created_at IS 'when it was listed; null: a stub';
COMMENT ON TABLE orders IS 'the newest revision of each order';
COMMENT ON COLUMN orders.order_id IS '53-bit id, ordered by time';
COMMENT ON COLUMN orders.rev IS 'revision: 1 is PAID, later ones change the status';
COMMENT ON COLUMN orders.user_id IS 'the customer; no foreign key, as the order may come first';
COMMENT ON COLUMN orders.product_id IS 'the product; no foreign key, as the order may come first';
COMMENT ON COLUMN orders.quantity IS 'units, 1 to 999';
COMMENT ON COLUMN orders.unit_price IS 'KRW';
COMMENT ON COLUMN orders.discount IS 'KRW, of the whole order';
COMMENT ON COLUMN orders.amount IS 'quantity * unit_price - discount, KRW; spend if PAID';
COMMENT ON COLUMN orders.payment_method IS 'SIMPLE_PAY, CARD, VIRTUAL_ACCOUNT, TRANSFER or PHONE';
COMMENT ON COLUMN orders.status IS 'PAID, CANCELLED or REFUNDED';
COMMENT ON COLUMN orders.scenario IS 'the scenario that the order was made in; null: none';
COMMENT ON COLUMN orders.ordered_at IS 'event time of the order: where its spend counts';
COMMENT ON COLUMN orders.updated_at IS 'event time of this revision';
COMMENT ON COLUMN user_spend_windows.user_id IS 'the customer';
COMMENT ON COLUMN user_spend_windows.window_start IS
    'beginning of the window; its length is in spend_window_length';
COMMENT ON COLUMN user_spend_windows.orders IS 'PAID orders in the window';
COMMENT ON COLUMN user_spend_windows.spend IS 'sum of their amount, KRW';
COMMENT ON TABLE ingest_offsets IS
    'how far each partition is applied, written in the transaction that stores its messages';
COMMENT ON COLUMN ingest_offsets.topic IS 'users, products or orders';
COMMENT ON COLUMN ingest_offsets.partition IS 'of the topic';
COMMENT ON COLUMN ingest_offsets.next_offset IS 'all messages below it are applied';
COMMENT ON COLUMN ingest_offsets.updated_at IS 'newest batch';
COMMENT ON TABLE rejected_messages IS 'dead letters: messages that could not be stored, and why';
COMMENT ON COLUMN rejected_messages.topic IS 'where it is in Kafka';
COMMENT ON COLUMN rejected_messages.partition IS 'where it is in Kafka';
COMMENT ON COLUMN rejected_messages."offset" IS 'where it is in Kafka';
COMMENT ON COLUMN rejected_messages.log_id IS 'identity of the topic, as in ingest_offsets';
COMMENT ON COLUMN rejected_messages.key IS 'its key, up to 1,024 bytes';
COMMENT ON COLUMN rejected_messages.payload IS 'its original bytes, up to 65,536';
COMMENT ON COLUMN rejected_messages.reason IS 'why, as a word that stays the same';
COMMENT ON COLUMN rejected_messages.field IS 'the field at fault; null: the whole message';
COMMENT ON COLUMN rejected_messages.detail IS 'why, for people';
COMMENT ON COLUMN rejected_messages.rejected_at IS 'when the row was first stored';
COMMENT ON COLUMN rejected_messages.replayed_at IS 'when it was replayed; null: not yet';
COMMENT ON TABLE grade_history IS 'each change of a grade';
COMMENT ON COLUMN grade_history.user_id IS 'the customer';
COMMENT ON COLUMN grade_history.from_grade IS 'before';
COMMENT ON COLUMN grade_history.to_grade IS 'after';
COMMENT ON COLUMN grade_history.cumulative_spend IS 'paid in the period before as_of, KRW';
COMMENT ON COLUMN grade_history.as_of IS 'the run, as in grade_runs';
COMMENT ON TABLE grade_runs IS 'each run of the grader';
COMMENT ON COLUMN grade_runs.run_id IS 'number of the run';
COMMENT ON COLUMN grade_runs.as_of IS 'the instant whose grades these are';
COMMENT ON COLUMN grade_runs.mode IS 'full: from all orders; incremental: from what changed';
COMMENT ON COLUMN grade_runs.users IS 'customers graded';
COMMENT ON COLUMN grade_runs.changed IS 'customers with another grade now';
COMMENT ON COLUMN grade_runs.upgraded IS 'of these, the ones who rose';
COMMENT ON COLUMN grade_runs.downgraded IS 'of these, the ones who fell';
COMMENT ON COLUMN grade_runs.started_at IS 'by the clock of this server';
COMMENT ON COLUMN grade_runs.finished_at IS 'by the clock of this server, just before the commit';
COMMENT ON COLUMN grade_runs.read_seconds IS 'of the run';
COMMENT ON COLUMN grade_runs.compute_seconds IS 'of the run';
COMMENT ON COLUMN grade_runs.write_seconds IS 'of the run';
COMMENT ON TABLE grade_state IS 'where the last run of the grader ended: for the next run alone';
COMMENT ON COLUMN grade_state.only_row IS 'always true: there is one row';
COMMENT ON COLUMN grade_state.as_of IS 'the instant of the last run';
COMMENT ON COLUMN grade_state.period_start IS 'beginning of its period';
COMMENT ON COLUMN grade_state.policy IS 'its grades, as JSON';
COMMENT ON COLUMN grade_state.full_at IS 'when all customers were last graded';
COMMENT ON COLUMN spend_before_period.user_id IS 'the customer';
COMMENT ON COLUMN spend_before_period.spend IS 'paid before grade_state.period_start, KRW';
COMMENT ON COLUMN spend_before_recent.nr IS 'of a customer the highest one counts';
COMMENT ON COLUMN spend_before_recent.user_id IS 'the customer';
COMMENT ON COLUMN spend_before_recent.spend IS 'paid before grade_state.period_start, KRW';
COMMENT ON COLUMN spend_before_recent.grade IS 'as in spend_before_period';
COMMENT ON COLUMN old_order_changes.xact IS 'the transaction that changed the order';
COMMENT ON COLUMN old_order_changes.user_id IS 'the customer';
COMMENT ON COLUMN old_order_changes.ordered_at IS 'of the order';
COMMENT ON COLUMN old_order_changes.spend IS 'the change of paid spend, KRW';
COMMENT ON COLUMN spend_window_length.only_row IS 'always true: there is one row';
COMMENT ON COLUMN spend_window_length.seconds IS 'length of every window';
COMMENT ON VIEW spend_last_hour IS 'per customer, PAID orders of the last 60 minutes; see spend_of_last';
COMMENT ON COLUMN spend_last_hour.user_id IS 'the customer';
COMMENT ON COLUMN spend_last_hour.orders IS 'PAID orders of the windows that touch the last hour';
COMMENT ON COLUMN spend_last_hour.spend IS 'sum of their amount, KRW';
COMMENT ON COLUMN backfill_runs.only_row IS 'always true: there is one row';
COMMENT ON COLUMN backfill_runs.request IS 'what was asked for, as JSON';
COMMENT ON COLUMN backfill_runs.ends_at IS 'the moment at which the history ends';
COMMENT ON COLUMN backfill_runs.next_day IS 'days written so far';
COMMENT ON COLUMN backfill_runs.orders IS 'orders written so far';
COMMENT ON COLUMN backfill_runs.started_at IS 'when it began';
COMMENT ON COLUMN backfill_runs.finished_at IS 'null: it is half done, and nobody else may write';
COMMENT ON COLUMN backfill_state.only_row IS 'always true: there is one row';
COMMENT ON COLUMN backfill_state.day IS 'the day at whose beginning `state` was taken';
COMMENT ON COLUMN backfill_state.state IS 'the simulation at that moment, a compressed NumPy archive';
COMMENT ON COLUMN backfill_state.pending IS 'cancellations and refunds still to come, Parquet';
COMMENT ON TABLE schema_migrations IS 'the migrations of deploy/sql that are applied';
COMMENT ON COLUMN schema_migrations.version IS 'number of the migration';
COMMENT ON COLUMN schema_migrations.name IS 'its name';
COMMENT ON COLUMN schema_migrations.applied_at IS 'when';
COMMENT ON TABLE schema_layout IS 'how this database is laid out';
COMMENT ON COLUMN schema_layout.only_row IS 'always true: there is one row';
COMMENT ON COLUMN schema_layout.lookup_indexes IS
    'whether it has the indexes that people look up by; `jangteo init --lean` leaves them out';
DO $$
DECLARE
    tab regclass;
BEGIN
    FOR tab IN SELECT c.oid FROM pg_class AS c
               WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
                 AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'ingested_at')
                 AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'changed_at')
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.ingested_at IS %L', tab,
                       'when the row was first stored; never rewritten');
        EXECUTE format('COMMENT ON COLUMN %s.changed_at IS %L', tab,
                       'when the row was last changed; for incremental loads');
    END LOOP;
END
$$;
