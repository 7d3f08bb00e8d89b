-- Who may make ids with which node number. A row for each of the 16; a process holds one while it
-- makes ids, and `ceiling_ms` is reserved before any id below it is made, so it outlives the
-- process that made them: the next holder begins there, whatever its clock says.
CREATE TABLE node_leases (
    node smallint PRIMARY KEY CHECK (node BETWEEN 0 AND 15),
    ceiling_ms bigint NOT NULL CHECK (ceiling_ms >= 0),
    holder text,
    name text,
    host text,
    hostname text,
    pid integer,
    pid_started text,
    acquired_at timestamptz,
    expires_at timestamptz,
    CHECK ((holder IS NULL) = (expires_at IS NULL))
) WITH (fillfactor = 50);  -- renewed every few seconds: updates stay within the page

COMMENT ON TABLE node_leases IS
    'which process makes ids with which node number, and from where the next one begins';
COMMENT ON COLUMN node_leases.node IS 'the node number in an id, 0 to 15';
COMMENT ON COLUMN node_leases.ceiling_ms IS
    'no id of this node carries this time or a later one: milliseconds since 2020-01-01 UTC';
COMMENT ON COLUMN node_leases.holder IS 'a random token of the holder; null: nobody holds it';
COMMENT ON COLUMN node_leases.name IS 'name of the process that holds or last held it';
COMMENT ON COLUMN node_leases.host IS 'boot and pid namespace of the holder: pids mean the same within';
COMMENT ON COLUMN node_leases.hostname IS 'name of the holder''s machine, for people';
COMMENT ON COLUMN node_leases.pid IS 'process id of the holder';
COMMENT ON COLUMN node_leases.pid_started IS
    'tells the holder from an earlier or later process of the same pid';
COMMENT ON COLUMN node_leases.acquired_at IS 'when the holder took it, by the clock of this server';
COMMENT ON COLUMN node_leases.expires_at IS
    'when it ends unless renewed, by the clock of this server; null: nobody holds it';

-- What was made before there were leases lies below: up to now, or up to the newest id stored if
-- that carries a later time (of at most a day from now: further ahead no event is accepted).
INSERT INTO node_leases (node, ceiling_ms)
SELECT node, greatest(moment.ms, least(newest.ms + 1, moment.ms + 86400000))
FROM generate_series(0, 15) AS node,
    (SELECT floor(extract(epoch FROM clock_timestamp() - '2020-01-01Z'::timestamptz) * 1000)::bigint
        AS ms) AS moment,
    (SELECT greatest(coalesce((SELECT max(user_id) FROM users), 0),
                     coalesce((SELECT max(product_id) FROM products), 0),
                     coalesce((SELECT max(order_id) FROM orders), 0)) >> 12 AS ms) AS newest;
