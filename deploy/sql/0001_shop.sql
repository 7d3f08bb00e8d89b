-- The shop. Spend, everywhere, is the amount of PAID orders, counted at ordered_at.
-- An order or an event may arrive before its user or product: the row then starts as a stub
-- (profile columns null) and the user or product event fills it in.

-- fillfactor: orders update these counters all the time; room in the page keeps the updates
-- HOT (no index entry is written), and no index stands on a column that an order changes.
CREATE TABLE users (
    user_id         bigint PRIMARY KEY,
    name            text,
    email           text,
    gender          text CHECK (gender IN ('F', 'M')),
    birth_year      smallint,
    city            text,
    grade           text NOT NULL DEFAULT 'BRONZE',
    created_at      timestamptz,
    last_ordered_at timestamptz,
    order_count     integer NOT NULL DEFAULT 0,
    total_spent     bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70);
CREATE INDEX users_created_at ON users (created_at);
COMMENT ON COLUMN users.created_at IS 'null: a stub whose user event has not arrived';
COMMENT ON COLUMN users.last_ordered_at IS 'newest ordered_at of any order, cancelled or not';
COMMENT ON COLUMN users.order_count IS 'PAID orders';
COMMENT ON COLUMN users.total_spent IS 'sum of amount over PAID orders, KRW';

CREATE TABLE products (
    product_id  bigint PRIMARY KEY,
    name        text,
    category    text,
    brand       text,
    price       bigint,
    created_at  timestamptz,
    order_count integer NOT NULL DEFAULT 0
) WITH (fillfactor = 70);
CREATE INDEX products_created_at ON products (created_at);
COMMENT ON COLUMN products.order_count IS 'PAID orders';

CREATE TABLE orders (
    order_id       bigint PRIMARY KEY,
    rev            smallint NOT NULL,
    user_id        bigint NOT NULL,
    product_id     bigint NOT NULL,
    quantity       integer NOT NULL,
    unit_price     bigint NOT NULL,
    discount       bigint NOT NULL,
    amount         bigint NOT NULL,
    payment_method text NOT NULL,
    status         text NOT NULL CHECK (status IN ('PAID', 'CANCELLED', 'REFUNDED')),
    scenario       text,
    ordered_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    ingested_at    timestamptz NOT NULL DEFAULT now()
);
-- Orders arrive nearly in the order of ordered_at, so a BRIN index serves time ranges at a
-- thousandth of a btree's size and cost.
CREATE INDEX orders_ordered_at ON orders USING brin (ordered_at) WITH (autosummarize = on);

CREATE TABLE user_spend_windows (
    user_id      bigint NOT NULL,
    window_start timestamptz NOT NULL,
    orders       integer NOT NULL,
    spend        bigint NOT NULL,
    -- The window first: live inserts then fall on one edge of the index, and the last minutes
    -- of all users are one range.
    PRIMARY KEY (window_start, user_id)
) WITH (fillfactor = 80);
COMMENT ON TABLE user_spend_windows IS
    'tumbling event-time windows; a window whose orders were all cancelled stays, with 0';

-- How far each Kafka partition has been applied. Written in the transaction that stores the
-- messages, and therefore the truth; what Kafka knows is for monitoring.
CREATE TABLE ingest_offsets (
    topic       text NOT NULL,
    partition   integer NOT NULL,
    log_id      text NOT NULL,
    next_offset bigint NOT NULL,
    stored      bigint NOT NULL DEFAULT 0,
    rejected    bigint NOT NULL DEFAULT 0,
    ignored     bigint NOT NULL DEFAULT 0,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, log_id)
);
COMMENT ON COLUMN ingest_offsets.log_id IS
    'identity of the topic (cluster and topic id): a recreated topic begins at offset 0';
COMMENT ON COLUMN ingest_offsets.stored IS 'messages that inserted or changed a row';
COMMENT ON COLUMN ingest_offsets.rejected IS 'messages put into rejected_messages';
COMMENT ON COLUMN ingest_offsets.ignored IS 'duplicates and revisions older than the stored one';

CREATE TABLE rejected_messages (
    topic       text NOT NULL,
    partition   integer NOT NULL,
    "offset"    bigint NOT NULL,
    log_id      text NOT NULL,
    key         bytea,
    payload     bytea,
    reason      text NOT NULL,
    field       text,
    detail      text NOT NULL,
    rejected_at timestamptz NOT NULL DEFAULT now(),
    replayed_at timestamptz,
    PRIMARY KEY (topic, partition, "offset", log_id)
);

CREATE TABLE grade_history (
    user_id          bigint NOT NULL,
    from_grade       text NOT NULL,
    to_grade         text NOT NULL,
    cumulative_spend bigint NOT NULL,
    as_of            timestamptz NOT NULL,
    PRIMARY KEY (user_id, as_of)
);
CREATE INDEX grade_history_as_of ON grade_history (as_of);

CREATE TABLE grade_runs (
    run_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    as_of       timestamptz NOT NULL,
    mode        text NOT NULL CHECK (mode IN ('full', 'incremental')),
    users       bigint NOT NULL,
    changed     bigint NOT NULL,
    upgraded    bigint NOT NULL,
    downgraded  bigint NOT NULL,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL
);
