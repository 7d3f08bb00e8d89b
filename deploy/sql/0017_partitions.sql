-- A layout by month for orders and user_spend_windows; `jangteo init --partitioned` changes to it
-- and back. Months are those of Seoul. Orders are partitioned by order_id, which begins with the
-- time: order_id alone stays the primary key, so an order is unique over all partitions, whatever
-- its ordered_at says. Windows are partitioned by their beginning. What belongs to no month that
-- there is (old or future times, ids of another scheme) is stored in the default partitions.
ALTER TABLE schema_layout ADD COLUMN partitioned boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN schema_layout.partitioned IS
    'whether orders and user_spend_windows are partitioned by month; `jangteo init --partitioned`';

-- What the orders of detached and dropped months count: customers, products and rollups keep them.
CREATE TABLE detached_spend (
    month       date NOT NULL,
    user_id     bigint NOT NULL,
    orders      bigint NOT NULL,
    spend       bigint NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (month, user_id)
);
CREATE TABLE detached_sales (
    month          date NOT NULL,
    product_id     bigint,
    day            date,
    payment_method text,
    hour           timestamptz,
    scenario       text,
    orders         bigint NOT NULL,
    units          bigint NOT NULL,
    spend          bigint NOT NULL,
    cancelled      bigint NOT NULL,
    refunded       bigint NOT NULL,
    ingested_at    timestamptz NOT NULL DEFAULT now(),
    changed_at     timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nonnulls(product_id, payment_method, hour) = 1)
);
CREATE INDEX detached_sales_month ON detached_sales (month);
CREATE TRIGGER touch_changed_at BEFORE UPDATE ON detached_spend
    FOR EACH ROW EXECUTE FUNCTION touch_changed_at();
CREATE TRIGGER touch_changed_at BEFORE UPDATE ON detached_sales
    FOR EACH ROW EXECUTE FUNCTION touch_changed_at();
COMMENT ON TABLE detached_spend IS
    'what each customer paid in months whose orders were detached or dropped';
COMMENT ON COLUMN detached_spend.month IS 'first day of the month';
COMMENT ON COLUMN detached_spend.user_id IS 'the customer';
COMMENT ON COLUMN detached_spend.orders IS 'PAID orders';
COMMENT ON COLUMN detached_spend.spend IS 'sum of their amount, KRW';
COMMENT ON TABLE detached_sales IS
    'what months sold whose orders were detached or dropped: by product, payment method or hour';
COMMENT ON COLUMN detached_sales.month IS 'first day of the month';
COMMENT ON COLUMN detached_sales.product_id IS 'a row of sales_by_product; null: of another rollup';
COMMENT ON COLUMN detached_sales.day IS 'day of ordered_at in Seoul; null: a row by hour';
COMMENT ON COLUMN detached_sales.payment_method IS
    'a row of sales_by_payment_method; null: of another rollup';
COMMENT ON COLUMN detached_sales.hour IS 'a row of sales_by_hour; null: of another rollup';
COMMENT ON COLUMN detached_sales.scenario IS 'of a row by hour';
COMMENT ON COLUMN detached_sales.orders IS 'PAID orders';
COMMENT ON COLUMN detached_sales.units IS 'sum of their quantity';
COMMENT ON COLUMN detached_sales.spend IS 'sum of their amount, KRW';
COMMENT ON COLUMN detached_sales.cancelled IS 'CANCELLED orders, by hour';
COMMENT ON COLUMN detached_sales.refunded IS 'REFUNDED orders, by hour';
DO $$
DECLARE
    tab text;
BEGIN
    FOREACH tab IN ARRAY ARRAY['detached_spend', 'detached_sales'] LOOP
        EXECUTE format('COMMENT ON COLUMN %I.ingested_at IS %L', tab,
                       'when the row was first stored; never rewritten');
        EXECUTE format('COMMENT ON COLUMN %I.changed_at IS %L', tab,
                       'when the row was last changed; for incremental loads');
    END LOOP;
END
$$;

-- The rollups of orders, as before, with what detached months sold: a rebuild keeps it.
CREATE OR REPLACE FUNCTION sales_by_hour_of_orders() RETURNS TABLE (hour timestamptz, scenario text,
    orders bigint, units bigint, spend bigint, cancelled bigint, refunded bigint)
LANGUAGE sql STABLE AS $$
    SELECT s.hour, s.scenario, sum(s.orders)::bigint, sum(s.units)::bigint, sum(s.spend)::bigint,
           sum(s.cancelled)::bigint, sum(s.refunded)::bigint
    FROM (SELECT date_trunc('hour', o.ordered_at, 'UTC') AS hour,
                 coalesce(o.scenario, 'none') AS scenario,
                 count(*) FILTER (WHERE status = 'PAID') AS orders,
                 coalesce(sum(quantity) FILTER (WHERE status = 'PAID'), 0) AS units,
                 coalesce(sum(amount) FILTER (WHERE status = 'PAID'), 0) AS spend,
                 count(*) FILTER (WHERE status = 'CANCELLED') AS cancelled,
                 count(*) FILTER (WHERE status = 'REFUNDED') AS refunded
          FROM orders AS o GROUP BY 1, 2
          UNION ALL
          SELECT d.hour, d.scenario, d.orders, d.units, d.spend, d.cancelled, d.refunded
          FROM detached_sales AS d WHERE d.hour IS NOT NULL) AS s
    GROUP BY 1, 2
$$;
CREATE OR REPLACE FUNCTION sales_by_payment_method_of_orders() RETURNS TABLE (day date,
    payment_method text, orders bigint, spend bigint)
LANGUAGE sql STABLE AS $$
    SELECT s.day, s.payment_method, sum(s.orders)::bigint, sum(s.spend)::bigint
    FROM (SELECT (ordered_at AT TIME ZONE 'Asia/Seoul')::date AS day, o.payment_method,
                 count(*) AS orders, sum(amount) AS spend
          FROM orders AS o WHERE status = 'PAID' GROUP BY 1, 2
          UNION ALL
          SELECT d.day, d.payment_method, d.orders, d.spend
          FROM detached_sales AS d WHERE d.payment_method IS NOT NULL) AS s
    GROUP BY 1, 2
$$;
CREATE OR REPLACE FUNCTION sales_by_product_of_orders() RETURNS TABLE (product_id bigint, day date,
    orders integer, units integer, spend bigint)
LANGUAGE sql STABLE AS $$
    SELECT s.product_id, s.day, sum(s.orders)::integer, sum(s.units)::integer, sum(s.spend)::bigint
    FROM (SELECT o.product_id, (ordered_at AT TIME ZONE 'Asia/Seoul')::date AS day,
                 count(*) AS orders, sum(quantity) AS units, sum(amount) AS spend
          FROM orders AS o WHERE status = 'PAID' GROUP BY 1, 2
          UNION ALL
          SELECT d.product_id, d.day, d.orders, d.units, d.spend
          FROM detached_sales AS d WHERE d.product_id IS NOT NULL) AS s
    GROUP BY 1, 2
$$;
CREATE OR REPLACE FUNCTION empty_sales() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM sales_by_product;
    DELETE FROM sales_by_category;
    DELETE FROM sales_by_payment_method;
    DELETE FROM sales_by_hour;
    DELETE FROM detached_spend;
    DELETE FROM detached_sales;
    RETURN NULL;
END
$$;

-- Where a month begins: as a time, and as an id (41 bits of milliseconds since 2020, shop/ids.py).
CREATE FUNCTION month_start(month date) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT date_trunc('month', month::timestamp) AT TIME ZONE 'Asia/Seoul'
$$;
CREATE FUNCTION month_first_id(month date) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT ((extract(epoch FROM month_start(month)) * 1000)::bigint - 1577836800000) << 12
$$;

-- Adds a month to a table, unless it is there, and moves what the default partition holds of it.
-- A table of its own that is attached then, as CREATE TABLE ... PARTITION OF would shut out readers.
CREATE FUNCTION make_month(parent text, month date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    part text := format('%s_%s', parent, to_char(month, 'YYYY_MM'));
    later date := (month + interval '1 month')::date;
    key text;
    low text;
    high text;
BEGIN
    IF to_regclass('public.' || part) IS NOT NULL THEN
        RETURN false;
    END IF;
    IF parent = 'orders' THEN
        key := 'order_id';
        low := month_first_id(month)::text;
        high := month_first_id(later)::text;
    ELSE
        key := 'window_start';
        low := month_start(month)::text;
        high := month_start(later)::text;
    END IF;
    EXECUTE format('LOCK TABLE ONLY %I IN SHARE UPDATE EXCLUSIVE MODE', parent);
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL EXCLUDING INDEXES) WITH (fillfactor = %s)',
                   part, parent, CASE parent WHEN 'orders' THEN 100 ELSE 80 END);
    EXECUTE format('COMMENT ON TABLE %I IS %L', part,
                   format('%s of %s, Seoul', parent, to_char(month, 'YYYY-MM')));
    EXECUTE format('WITH moved AS (DELETE FROM %I WHERE %I >= %L AND %I < %L RETURNING *)'
                   ' INSERT INTO %I SELECT * FROM moved',
                   parent || '_default', key, low, key, high, part);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   parent, part, low, high);
    RETURN true;
END
$$;

-- Makes the current month and the next ones; returns how many partitions it made. For the owner and
-- the ingest, which owns no table: it runs as the owner. Nobody waits long for it: where a writer
-- holds a table longer, it fails and is tried again later, and the default partition takes the rows.
CREATE FUNCTION make_months_ahead(ahead integer DEFAULT 3) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '2s'
SET "TimeZone" = 'UTC' AS $$
DECLARE
    month date := date_trunc('month', now() AT TIME ZONE 'Asia/Seoul');
    parent text;
    made integer := 0;
BEGIN
    IF NOT (SELECT partitioned FROM schema_layout) OR NOT pg_try_advisory_xact_lock(1784770928) THEN
        RETURN 0;  -- "jatp": another session is at it
    END IF;
    FOREACH parent IN ARRAY ARRAY['user_spend_windows', 'orders'] LOOP  -- as every writer locks them
        FOR i IN 0..least(ahead, 24) LOOP
            made := made + make_month(parent, (month + make_interval(months => i))::date)::integer;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;
REVOKE ALL ON FUNCTION make_months_ahead(integer) FROM PUBLIC;
