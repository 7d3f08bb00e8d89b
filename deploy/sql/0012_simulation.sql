-- The state of the simulation of customers, in a schema of its own: it says what customers are
-- about to do, which no analyst of a real shop could know. The cache worker keeps it up to date, a
-- history leaves it complete at its end. Nothing in the tables of the shop depends on it.
CREATE SCHEMA simulation;
COMMENT ON SCHEMA simulation IS
    'state of the simulated customers, for the simulation alone; analyses use the schema public';

CREATE TABLE simulation.customers (
    user_id       bigint PRIMARY KEY,
    orders        integer NOT NULL DEFAULT 0 CHECK (orders >= 0),
    last_order_id bigint,
    due           bigint,
    CHECK ((orders = 0) = (last_order_id IS NULL))
);
COMMENT ON TABLE simulation.customers IS 'a row for each customer: when the simulation lets him buy';
COMMENT ON COLUMN simulation.customers.user_id IS 'the customer, as in users';
COMMENT ON COLUMN simulation.customers.orders IS 'orders counted so far, cancelled ones included';
COMMENT ON COLUMN simulation.customers.last_order_id IS
    'the newest order counted; an order with this id or a lower one is not counted again';
COMMENT ON COLUMN simulation.customers.due IS
    'he buys when simulation.clock.orders has come this far; null: never (again)';

-- Who may buy now. Partial, so that each holds its own side of the cache, and nobody who never
-- buys. They are here and not on users: each order changes `due`, and an update of an indexed
-- column of users would be an entry in every index of that table.
CREATE INDEX customers_purchasers_due ON simulation.customers (due)
    WHERE orders > 0 AND due IS NOT NULL;
CREATE INDEX customers_others_due ON simulation.customers (due, user_id)
    WHERE orders = 0 AND due IS NOT NULL;
-- Order ids carry the time: the least recent purchasers come first.
CREATE INDEX customers_last_order ON simulation.customers (last_order_id, user_id)
    WHERE orders > 0;

CREATE TABLE simulation.clock (
    only_row        boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    orders          bigint NOT NULL DEFAULT 0 CHECK (orders >= 0),
    sign_ups        bigint NOT NULL DEFAULT 0 CHECK (sign_ups >= 0),
    seed            bigint NOT NULL,
    orders_per_day  integer NOT NULL CHECK (orders_per_day > 0),
    newest_user_id  bigint NOT NULL DEFAULT 0,
    newest_order_id bigint NOT NULL DEFAULT 0,
    catching_up     boolean NOT NULL DEFAULT false,
    updated_at      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE simulation.clock IS
    'one row: how far the shop is, by its own clock, which counts orders';
COMMENT ON COLUMN simulation.clock.only_row IS 'always true: there is one row';
COMMENT ON COLUMN simulation.clock.orders IS 'orders counted: the time by which customers are due';
COMMENT ON COLUMN simulation.clock.sign_ups IS
    'customers counted; the rate of sign-ups depends on their number';
COMMENT ON COLUMN simulation.clock.seed IS 'seed of the traits and delays of the customers';
COMMENT ON COLUMN simulation.clock.orders_per_day IS
    'orders of a mean day: what turns days of the model into orders';
COMMENT ON COLUMN simulation.clock.newest_user_id IS 'customers up to this id are counted';
COMMENT ON COLUMN simulation.clock.newest_order_id IS 'orders up to this id are counted';
COMMENT ON COLUMN simulation.clock.catching_up IS
    'the customers of a shop that is older than this table are still being counted';
COMMENT ON COLUMN simulation.clock.updated_at IS 'when the row was last changed';
