-- A product changes: its price, and whether it is on sale. As with orders, each state has a
-- revision, and the highest one wins in whatever order the messages arrive.
ALTER TABLE products
    ADD COLUMN rev         smallint NOT NULL DEFAULT 1,
    ADD COLUMN sale_status text NOT NULL DEFAULT 'LISTED',
    ADD COLUMN updated_at  timestamptz;
ALTER TABLE products ADD CONSTRAINT products_rev_check CHECK (rev >= 1) NOT VALID;
ALTER TABLE products
    ADD CONSTRAINT products_sale_status_check CHECK (sale_status IN ('LISTED', 'DELISTED')) NOT VALID;
COMMENT ON COLUMN products.rev IS 'number of the state that is stored; the highest one wins';
COMMENT ON COLUMN products.sale_status IS 'LISTED, or DELISTED: not on sale any more';
COMMENT ON COLUMN products.updated_at IS
    'when this state began; null: a stub, or an event of a version without revisions';
