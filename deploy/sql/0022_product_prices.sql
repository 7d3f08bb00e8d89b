-- The revisions of products as a type 2 dimension: which price was valid when. `products` holds the
-- newest revision alone. The ingest fills it where customer_changes is switched on; empty otherwise.
CREATE TABLE product_prices (
    product_id  bigint NOT NULL,
    rev         integer NOT NULL,
    price       bigint NOT NULL,
    sale_status text NOT NULL,
    valid_from  timestamptz NOT NULL,
    valid_to    timestamptz,
    current     boolean NOT NULL DEFAULT true,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (product_id, rev),
    CHECK (current = (valid_to IS NULL)),
    CHECK (valid_to >= valid_from)
);
COMMENT ON TABLE product_prices IS
    'type 2: price and sale of a product from when to when; one row each is current';
COMMENT ON COLUMN product_prices.product_id IS 'the product';
COMMENT ON COLUMN product_prices.rev IS 'its revision; 1 is the listing';
COMMENT ON COLUMN product_prices.price IS 'list price, KRW';
COMMENT ON COLUMN product_prices.sale_status IS 'LISTED, or DELISTED: off sale from then on';
COMMENT ON COLUMN product_prices.valid_from IS 'first moment of this revision';
COMMENT ON COLUMN product_prices.valid_to IS 'first moment of the next one; null: current';
COMMENT ON COLUMN product_prices.current IS 'whether it is the newest revision';
COMMENT ON COLUMN product_prices.ingested_at IS 'when the row was first stored; never rewritten';
COMMENT ON COLUMN product_prices.changed_at IS 'when the row was last changed; for incremental loads';

-- Revisions are put where their time says, in whatever order they arrive. Who adds one holds the
-- lock of its product, so no two do for one product at a time.
CREATE FUNCTION link_product_prices() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    UPDATE product_prices AS p
    SET valid_to = v.next, current = v.next IS NULL, changed_at = now()
    FROM (SELECT product_id, rev, lead(valid_from) OVER (
              PARTITION BY product_id ORDER BY valid_from, rev) AS next
          FROM product_prices WHERE product_id IN (SELECT product_id FROM added)) AS v
    WHERE p.product_id = v.product_id AND p.rev = v.rev AND p.valid_to IS DISTINCT FROM v.next;
    RETURN NULL;
END
$$;
CREATE TRIGGER link_product_prices AFTER INSERT ON product_prices
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION link_product_prices();
COMMENT ON FUNCTION link_product_prices() IS 'sets the ends of the revisions of product_prices';
REVOKE EXECUTE ON FUNCTION link_product_prices() FROM PUBLIC;

-- Revisions are stored from when the topic is switched on; until a product changes then, its row in
-- products says since when which price is valid. Of earlier times nothing is known: null.
-- A view of a function: a view of orders would be in the way when orders become partitioned.
CREATE FUNCTION price_orders() RETURNS TABLE (order_id bigint, product_id bigint,
    ordered_at timestamptz, unit_price bigint, discount bigint, list_price bigint,
    product_rev integer, sale_status text)
LANGUAGE sql STABLE AS $$
    SELECT o.order_id, o.product_id, o.ordered_at, o.unit_price, o.discount,
           coalesce(v.price, p.price), coalesce(v.rev, p.rev)::integer,
           coalesce(v.sale_status, p.sale_status)
    FROM orders AS o
    LEFT JOIN products AS p ON p.product_id = o.product_id
        AND coalesce(p.updated_at, p.created_at) <= o.ordered_at
    LEFT JOIN product_prices AS v ON v.product_id = o.product_id
        AND v.valid_from <= o.ordered_at AND (v.valid_to IS NULL OR o.ordered_at < v.valid_to)
$$;
COMMENT ON FUNCTION price_orders() IS 'the rows of order_prices';
CREATE VIEW order_prices AS SELECT * FROM price_orders();
COMMENT ON VIEW order_prices IS 'orders with the list price that was valid when they were placed';
COMMENT ON COLUMN order_prices.order_id IS 'the order';
COMMENT ON COLUMN order_prices.product_id IS 'what was ordered';
COMMENT ON COLUMN order_prices.ordered_at IS 'when';
COMMENT ON COLUMN order_prices.unit_price IS 'price that was charged for one, KRW, before discount';
COMMENT ON COLUMN order_prices.discount IS 'discount of the order, KRW';
COMMENT ON COLUMN order_prices.list_price IS 'list price at that time, KRW; null: not known';
COMMENT ON COLUMN order_prices.product_rev IS 'revision of the product at that time';
COMMENT ON COLUMN order_prices.sale_status IS 'whether it was on sale at that time';
