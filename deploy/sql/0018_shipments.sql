-- The parcels of paid orders, one row each; empty unless the topic is switched on. As with orders,
-- each state has a revision, and the highest one wins in whatever order the messages arrive.
CREATE TABLE shipments (
    shipment_id   bigint PRIMARY KEY,
    rev           smallint NOT NULL CHECK (rev >= 1),
    order_id      bigint NOT NULL,
    user_id       bigint NOT NULL,
    carrier       text NOT NULL,
    region        text,
    status        text NOT NULL
        CHECK (status IN ('DISPATCHED', 'IN_TRANSIT', 'DELIVERED', 'RETURNED', 'LOST')),
    promised_days smallint NOT NULL,
    dispatched_at timestamptz NOT NULL,
    in_transit_at timestamptz,
    delivered_at  timestamptz,
    returned_at   timestamptz,
    lost_at       timestamptz,
    updated_at    timestamptz NOT NULL,
    ingested_at   timestamptz NOT NULL DEFAULT now(),
    changed_at    timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);  -- a parcel has three or four states; its updates stay in the page (HOT)
-- As of orders: parcels leave nearly in the order of their ids.
CREATE INDEX shipments_dispatched_at ON shipments USING brin (dispatched_at)
    WITH (autosummarize = on);

COMMENT ON TABLE shipments IS 'parcels of paid orders, one for each; optional topic shipments';
COMMENT ON COLUMN shipments.shipment_id IS 'the order_id: an order has one parcel';
COMMENT ON COLUMN shipments.rev IS 'number of the state that is stored; the highest one wins';
COMMENT ON COLUMN shipments.order_id IS 'the order that it carries';
COMMENT ON COLUMN shipments.user_id IS 'who ordered';
COMMENT ON COLUMN shipments.carrier IS 'invented carrier';
COMMENT ON COLUMN shipments.region IS 'province it goes to; null: the customer''s city is not known';
COMMENT ON COLUMN shipments.status IS 'DISPATCHED, IN_TRANSIT, DELIVERED, RETURNED or LOST';
COMMENT ON COLUMN shipments.promised_days IS
    'delivery is promised until the end of the day that many days after that of dispatch, in Seoul';
COMMENT ON COLUMN shipments.dispatched_at IS 'when it left the warehouse';
COMMENT ON COLUMN shipments.in_transit_at IS 'when it left the sorting centre; null: not yet';
COMMENT ON COLUMN shipments.delivered_at IS 'when it was delivered; null: not, or not yet';
COMMENT ON COLUMN shipments.returned_at IS 'when it was back in the warehouse; null: not, or not yet';
COMMENT ON COLUMN shipments.lost_at IS 'when the carrier declared it lost; null: not';
COMMENT ON COLUMN shipments.updated_at IS 'when this state began';
COMMENT ON COLUMN shipments.ingested_at IS 'when the row was first stored; never rewritten';
COMMENT ON COLUMN shipments.changed_at IS 'when the row was last changed; for incremental loads';
