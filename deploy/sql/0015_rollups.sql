-- Sales added up in the transactions that store the orders: what a dashboard needs of a year in
-- thousands of rows. Like user_spend_windows they are sums of PAID orders at their ordered_at, exact
-- at every committed moment; a row whose orders were all cancelled stays, with 0. Days are days of
-- Seoul, the hours of the two are the same ones.

-- fillfactor and no other index: the rows of the current hour and day are updated by every batch,
-- and HOT updates stay within the page.
CREATE TABLE sales_by_hour (
    hour        timestamptz NOT NULL,
    scenario    text NOT NULL,
    orders      bigint NOT NULL,
    units       bigint NOT NULL,
    spend       bigint NOT NULL,
    cancelled   bigint NOT NULL,
    refunded    bigint NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (hour, scenario)
) WITH (fillfactor = 50);
CREATE TABLE sales_by_payment_method (
    day            date NOT NULL,
    payment_method text NOT NULL,
    orders         bigint NOT NULL,
    spend          bigint NOT NULL,
    ingested_at    timestamptz NOT NULL DEFAULT now(),
    changed_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, payment_method)
) WITH (fillfactor = 50);
CREATE TABLE sales_by_category (
    day         date NOT NULL,
    category    text NOT NULL,
    orders      bigint NOT NULL,
    units       bigint NOT NULL,
    spend       bigint NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, category)
) WITH (fillfactor = 50);
-- The product first: a product's days are one range, and its sales move when its category becomes
-- known or changes. Few products are sold in a batch, so their pages are in memory.
CREATE TABLE sales_by_product (
    product_id  bigint NOT NULL,
    day         date NOT NULL,
    orders      integer NOT NULL,
    units       integer NOT NULL,
    spend       bigint NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (product_id, day)
) WITH (fillfactor = 80);
-- Rows are added day by day.
CREATE INDEX sales_by_product_day ON sales_by_product USING brin (day) WITH (autosummarize = on);

COMMENT ON TABLE sales_by_hour IS 'what each hour sold, by scenario';
COMMENT ON COLUMN sales_by_hour.hour IS 'beginning of the hour of ordered_at';
COMMENT ON COLUMN sales_by_hour.scenario IS 'as in orders; none: outside of any';
COMMENT ON COLUMN sales_by_hour.orders IS 'PAID orders';
COMMENT ON COLUMN sales_by_hour.units IS 'sum of their quantity';
COMMENT ON COLUMN sales_by_hour.spend IS 'sum of their amount, KRW';
COMMENT ON COLUMN sales_by_hour.cancelled IS 'CANCELLED orders of that hour, whenever they were cancelled';
COMMENT ON COLUMN sales_by_hour.refunded IS 'REFUNDED orders of that hour, whenever they were refunded';
COMMENT ON TABLE sales_by_payment_method IS 'what each day of Seoul sold, by payment method';
COMMENT ON COLUMN sales_by_payment_method.day IS 'day of ordered_at in Seoul';
COMMENT ON COLUMN sales_by_payment_method.payment_method IS 'as in orders';
COMMENT ON COLUMN sales_by_payment_method.orders IS 'PAID orders';
COMMENT ON COLUMN sales_by_payment_method.spend IS 'sum of their amount, KRW';
COMMENT ON TABLE sales_by_category IS 'what each day of Seoul sold, by the category that products have now';
COMMENT ON COLUMN sales_by_category.day IS 'day of ordered_at in Seoul';
COMMENT ON COLUMN sales_by_category.category IS 'as in products; unknown: the product is still a stub';
COMMENT ON COLUMN sales_by_category.orders IS 'PAID orders';
COMMENT ON COLUMN sales_by_category.units IS 'sum of their quantity';
COMMENT ON COLUMN sales_by_category.spend IS 'sum of their amount, KRW';
COMMENT ON TABLE sales_by_product IS 'what each product sold on each day of Seoul';
COMMENT ON COLUMN sales_by_product.product_id IS 'as in products';
COMMENT ON COLUMN sales_by_product.day IS 'day of ordered_at in Seoul';
COMMENT ON COLUMN sales_by_product.orders IS 'PAID orders';
COMMENT ON COLUMN sales_by_product.units IS 'sum of their quantity';
COMMENT ON COLUMN sales_by_product.spend IS 'sum of their amount, KRW';
DO $$
DECLARE
    tab text;
BEGIN
    FOREACH tab IN ARRAY ARRAY['sales_by_hour', 'sales_by_payment_method', 'sales_by_category',
                               'sales_by_product']
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.ingested_at IS %L', tab,
                       'when the row was first stored; never rewritten');
        EXECUTE format('COMMENT ON COLUMN %I.changed_at IS %L', tab,
                       'when the row was last changed; for incremental loads');
    END LOOP;
END
$$;

-- What the rollups have to say: the truth by the orders. The four tables are filled from these
-- functions, and held against them by the check of `jangteo`. Functions and not views: a view keeps
-- the tables that it reads from being altered or replaced by partitioned ones.
CREATE FUNCTION sales_by_hour_of_orders() RETURNS TABLE (hour timestamptz, scenario text,
    orders bigint, units bigint, spend bigint, cancelled bigint, refunded bigint)
LANGUAGE sql STABLE AS $$
    SELECT date_trunc('hour', o.ordered_at, 'UTC'), coalesce(o.scenario, 'none'),
           count(*) FILTER (WHERE status = 'PAID'),
           coalesce(sum(quantity) FILTER (WHERE status = 'PAID'), 0)::bigint,
           coalesce(sum(amount) FILTER (WHERE status = 'PAID'), 0)::bigint,
           count(*) FILTER (WHERE status = 'CANCELLED'),
           count(*) FILTER (WHERE status = 'REFUNDED')
    FROM orders AS o GROUP BY 1, 2
$$;
CREATE FUNCTION sales_by_payment_method_of_orders() RETURNS TABLE (day date, payment_method text,
    orders bigint, spend bigint)
LANGUAGE sql STABLE AS $$
    SELECT (ordered_at AT TIME ZONE 'Asia/Seoul')::date, o.payment_method,
           count(*), sum(amount)::bigint
    FROM orders AS o WHERE status = 'PAID' GROUP BY 1, 2
$$;
CREATE FUNCTION sales_by_product_of_orders() RETURNS TABLE (product_id bigint, day date,
    orders integer, units integer, spend bigint)
LANGUAGE sql STABLE AS $$
    SELECT o.product_id, (ordered_at AT TIME ZONE 'Asia/Seoul')::date,
           count(*)::integer, sum(quantity)::integer, sum(amount)::bigint
    FROM orders AS o WHERE status = 'PAID' GROUP BY 1, 2
$$;
CREATE FUNCTION sales_by_category_of_orders() RETURNS TABLE (day date, category text,
    orders bigint, units bigint, spend bigint)
LANGUAGE sql STABLE AS $$
    SELECT s.day, coalesce(p.category, 'unknown'),
           sum(s.orders)::bigint, sum(s.units)::bigint, sum(s.spend)::bigint
    FROM sales_by_product AS s LEFT JOIN products AS p USING (product_id) GROUP BY 1, 2
$$;

-- For what writes orders in bulk, and for a repair: nobody may write orders or products meanwhile.
CREATE FUNCTION rebuild_sales() RETURNS void LANGUAGE plpgsql SET work_mem = '256MB' AS $$
BEGIN
    LOCK TABLE orders, products, sales_by_product, sales_by_category, sales_by_payment_method,
        sales_by_hour IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM sales_by_product;
    DELETE FROM sales_by_category;
    DELETE FROM sales_by_payment_method;
    DELETE FROM sales_by_hour;
    -- By day, so that the range index over the days is a narrow one.
    INSERT INTO sales_by_product (product_id, day, orders, units, spend)
    SELECT * FROM sales_by_product_of_orders() ORDER BY day, product_id;
    INSERT INTO sales_by_category (day, category, orders, units, spend)
    SELECT * FROM sales_by_category_of_orders();
    INSERT INTO sales_by_payment_method (day, payment_method, orders, spend)
    SELECT * FROM sales_by_payment_method_of_orders();
    INSERT INTO sales_by_hour (hour, scenario, orders, units, spend, cancelled, refunded)
    SELECT * FROM sales_by_hour_of_orders();
END
$$;
SELECT rebuild_sales();

-- Orders that are emptied as a whole take their sales along; an order by itself passes no trigger.
-- DELETE, as the statement may be emptying these tables, too.
CREATE FUNCTION empty_sales() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM sales_by_product;
    DELETE FROM sales_by_category;
    DELETE FROM sales_by_payment_method;
    DELETE FROM sales_by_hour;
    RETURN NULL;
END
$$;
CREATE TRIGGER empty_sales AFTER TRUNCATE ON orders EXECUTE FUNCTION empty_sales();
