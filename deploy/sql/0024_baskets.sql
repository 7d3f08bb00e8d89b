-- Which orders belong together, one row an order; empty unless the topic is switched on.
CREATE TABLE baskets (
    order_id        bigint PRIMARY KEY,
    basket_id       bigint NOT NULL,
    user_id         bigint NOT NULL,
    coupon          text,
    coupon_discount bigint NOT NULL CHECK (coupon_discount >= 0),
    ordered_at      timestamptz NOT NULL,
    ingested_at     timestamptz NOT NULL DEFAULT now(),
    changed_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX baskets_basket ON baskets (basket_id);

COMMENT ON TABLE baskets IS
    'the basket and the coupon of each order; optional topic baskets';
COMMENT ON COLUMN baskets.order_id IS 'the order, one line of the basket';
COMMENT ON COLUMN baskets.basket_id IS 'the customer''s first order of that day in Seoul';
COMMENT ON COLUMN baskets.user_id IS 'who ordered';
COMMENT ON COLUMN baskets.coupon IS 'code of the coupon; null: none';
COMMENT ON COLUMN baskets.coupon_discount IS 'part of the order''s discount that the coupon explains, KRW';
COMMENT ON COLUMN baskets.ordered_at IS 'when the order was placed';
COMMENT ON COLUMN baskets.ingested_at IS 'when the row was first stored; never rewritten';
COMMENT ON COLUMN baskets.changed_at IS 'when the row was last changed; for incremental loads';

-- A view of a function: a view of orders would be in the way when orders become partitioned.
CREATE FUNCTION list_basket_lines() RETURNS TABLE (basket_id bigint, order_id bigint, user_id bigint,
    product_id bigint, quantity integer, unit_price bigint, discount bigint, coupon text,
    coupon_discount bigint, sale_discount bigint, amount bigint, status text, ordered_at timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT b.basket_id, o.order_id, o.user_id, o.product_id, o.quantity::integer, o.unit_price,
           o.discount, b.coupon, b.coupon_discount, o.discount - b.coupon_discount, o.amount, o.status,
           o.ordered_at
    FROM orders AS o JOIN baskets AS b USING (order_id)
$$;
COMMENT ON FUNCTION list_basket_lines() IS 'the rows of basket_lines';
CREATE VIEW basket_lines AS SELECT * FROM list_basket_lines();
COMMENT ON VIEW basket_lines IS
    'orders with their basket; discount = coupon_discount + sale_discount';
DO $$
DECLARE
    col record;
BEGIN
    -- The columns of the view mean what they mean in its tables.
    FOR col IN
        SELECT a.attname AS name, col_description(a.attrelid, a.attnum) AS about
        FROM pg_attribute AS a
        WHERE a.attrelid IN ('orders'::regclass, 'baskets'::regclass) AND a.attnum > 0
          AND col_description(a.attrelid, a.attnum) IS NOT NULL
          AND EXISTS (SELECT FROM pg_attribute AS v
                      WHERE v.attrelid = 'basket_lines'::regclass AND v.attname = a.attname)
    LOOP
        EXECUTE format('COMMENT ON COLUMN basket_lines.%I IS %L', col.name, col.about);
    END LOOP;
END
$$;
COMMENT ON COLUMN basket_lines.sale_discount IS 'what of the discount the coupon does not explain, KRW';
