-- When a row was first stored never changes; when its last revision was, is another column. Existing
-- rows get the time of this migration: what changed before it is not known.
ALTER TABLE orders ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN orders.ingested_at IS 'when the row was first stored; never rewritten';
COMMENT ON COLUMN orders.changed_at IS 'when the row was last changed; for incremental loads';

-- Key and payload of a dead letter are bounded: what is longer is cut, and its length kept.
ALTER TABLE rejected_messages ADD COLUMN key_bytes integer, ADD COLUMN payload_bytes integer;
COMMENT ON COLUMN rejected_messages.key_bytes IS
    'length as it came, where `key` is only its beginning; null: whole';
COMMENT ON COLUMN rejected_messages.payload_bytes IS
    'length as it came, where `payload` is only its beginning; null: whole';
