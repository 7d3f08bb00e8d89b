-- Pages that customers look at, one row a view; empty unless the topic is switched on. Rows are added
-- and never changed.
CREATE TABLE page_views (
    view_id     bigint PRIMARY KEY,
    session_id  bigint NOT NULL,
    user_id     bigint NOT NULL,
    page        text NOT NULL,
    product_id  bigint,
    order_id    bigint,
    channel     text NOT NULL,
    device      text NOT NULL,
    referrer    text,
    viewed_at   timestamptz NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now()
);
-- A visit's views are neighbours in the primary key, so it needs no index of its own. Views of a
-- history come in the order of the orders that cause them, so BRIN would not help here.
CREATE INDEX page_views_viewed_at ON page_views (viewed_at);
-- One view in thirty.
CREATE INDEX page_views_order ON page_views (order_id) WHERE order_id IS NOT NULL;

COMMENT ON TABLE page_views IS
    'pages that customers looked at, in visits that lead to orders or not; optional topic page_views';
COMMENT ON COLUMN page_views.view_id IS 'identifier; the views of a visit are consecutive numbers';
COMMENT ON COLUMN page_views.session_id IS 'the visit: view_id of its first view';
COMMENT ON COLUMN page_views.user_id IS 'who looked';
COMMENT ON COLUMN page_views.page IS
    'HOME, CATEGORY, SEARCH, PRODUCT, ORDERS, SIGN_UP, BASKET or CHECKOUT';
COMMENT ON COLUMN page_views.product_id IS 'the product of a PRODUCT page; null elsewhere';
COMMENT ON COLUMN page_views.order_id IS 'the order that this CHECKOUT placed; null elsewhere';
COMMENT ON COLUMN page_views.channel IS 'how the visit came: DIRECT, SEARCH, SOCIAL, EMAIL or AD';
COMMENT ON COLUMN page_views.device IS 'of the visit: MOBILE, DESKTOP or TABLET';
COMMENT ON COLUMN page_views.referrer IS
    'where the first view of a visit came from; null: DIRECT, or a later view';
COMMENT ON COLUMN page_views.viewed_at IS 'when the page was opened';
COMMENT ON COLUMN page_views.ingested_at IS 'when the row was first stored; never rewritten';
COMMENT ON COLUMN page_views.changed_at IS 'when the row was last changed; for incremental loads';
