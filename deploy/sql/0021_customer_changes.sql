-- Changes of customers, and their history as a type 2 dimension; empty unless the topic is switched
-- on. `users` stays what customers said when they signed up, until they close their account.
CREATE TABLE customer_changes (
    change_id         bigint PRIMARY KEY,
    user_id           bigint NOT NULL,
    rev               smallint NOT NULL CHECK (rev >= 1),
    kind              text NOT NULL
        CHECK (kind IN ('SIGNED_UP', 'MOVED', 'RENAMED', 'CONSENT', 'CLOSED')),
    name              text,
    city              text,
    marketing_consent text CHECK (marketing_consent IN ('GRANTED', 'WITHDRAWN')),
    updated_at        timestamptz NOT NULL,
    ingested_at       timestamptz NOT NULL DEFAULT now(),
    changed_at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX customer_changes_user_id ON customer_changes (user_id);

CREATE TABLE users_history (
    user_id           bigint NOT NULL,
    valid_from        timestamptz NOT NULL,
    valid_to          timestamptz,
    current           boolean NOT NULL,
    rev               smallint NOT NULL,
    kind              text NOT NULL,
    name              text,
    city              text,
    marketing_consent text,
    change_id         bigint NOT NULL,
    ingested_at       timestamptz NOT NULL DEFAULT now(),
    changed_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, valid_from, change_id),
    CHECK (current = (valid_to IS NULL)),
    CHECK (valid_to >= valid_from)
);
CREATE INDEX users_history_closed ON users_history (user_id) WHERE kind = 'CLOSED';

COMMENT ON TABLE customer_changes IS 'what customers changed, an event each; optional topic customer_changes';
COMMENT ON COLUMN customer_changes.change_id IS 'the change; a hash of the customer and rev';
COMMENT ON COLUMN customer_changes.user_id IS 'who changed';
COMMENT ON COLUMN customer_changes.rev IS 'number of the customer''s change; 1 is the sign-up';
COMMENT ON COLUMN customer_changes.kind IS 'SIGNED_UP, MOVED, RENAMED, CONSENT or CLOSED';
COMMENT ON COLUMN customer_changes.name IS 'name after the change; null: erased';
COMMENT ON COLUMN customer_changes.city IS 'city after the change; null: erased';
COMMENT ON COLUMN customer_changes.marketing_consent IS
    'GRANTED or WITHDRAWN after the change; null: erased';
COMMENT ON COLUMN customer_changes.updated_at IS 'when it changed';
COMMENT ON COLUMN customer_changes.ingested_at IS 'when the row was first stored; never rewritten';
COMMENT ON COLUMN customer_changes.changed_at IS
    'when the row was last changed, by an erasure; for incremental loads';

COMMENT ON TABLE users_history IS
    'type 2: what was true of a customer from when to when; one row each is current';
COMMENT ON COLUMN users_history.user_id IS 'the customer';
COMMENT ON COLUMN users_history.valid_from IS 'first moment of this version';
COMMENT ON COLUMN users_history.valid_to IS 'first moment of the next one; null: current';
COMMENT ON COLUMN users_history.current IS 'whether it is the newest version';
COMMENT ON COLUMN users_history.rev IS 'number of the change that began it; 1 is the sign-up';
COMMENT ON COLUMN users_history.kind IS 'what began it; CLOSED: the account is closed from then on';
COMMENT ON COLUMN users_history.name IS 'null: erased';
COMMENT ON COLUMN users_history.city IS 'null: erased';
COMMENT ON COLUMN users_history.marketing_consent IS 'GRANTED or WITHDRAWN; null: erased';
COMMENT ON COLUMN users_history.change_id IS 'the change that began it, as in customer_changes';
COMMENT ON COLUMN users_history.ingested_at IS 'when the row was first stored; never rewritten';
COMMENT ON COLUMN users_history.changed_at IS 'when the row was last changed; for incremental loads';

-- Erases what is stored of customers; their orders stay under their number. Whatever else of theirs
-- arrives later is erased as it is stored: a sign-up finds a profile that is not a stub, a change
-- finds CLOSED, a dead letter the trigger below.
CREATE FUNCTION erase_customers(closed bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    stubs bigint[];
BEGIN
    UPDATE users_history SET name = NULL, city = NULL, marketing_consent = NULL, changed_at = now()
    WHERE user_id = ANY(closed) AND num_nonnulls(name, city, marketing_consent) > 0;
    UPDATE customer_changes SET name = NULL, city = NULL, marketing_consent = NULL, changed_at = now()
    WHERE user_id = ANY(closed) AND num_nonnulls(name, city, marketing_consent) > 0;
    -- In key order, as every writer. One whose sign-up has not arrived gets a row that it will find.
    INSERT INTO users (user_id) SELECT c FROM unnest(closed) AS c ORDER BY c
    ON CONFLICT (user_id) DO NOTHING;
    PERFORM FROM users WHERE user_id = ANY(closed) ORDER BY user_id FOR UPDATE;
    SELECT array_agg(user_id) INTO stubs FROM users
    WHERE user_id = ANY(closed) AND created_at IS NULL;
    UPDATE users AS u SET name = NULL, email = NULL, gender = NULL, birth_year = NULL, city = NULL,
        created_at = coalesce(u.created_at,
            (SELECT min(h.valid_from) FROM users_history AS h
             WHERE h.user_id = u.user_id AND h.kind = 'SIGNED_UP'),
            -- What the id carries: milliseconds since 2020, before 12 bits of node and sequence.
            timestamptz '2020-01-01 00:00+00' + (u.user_id >> 12) * interval '1 ms'),
        changed_at = now()
    WHERE u.user_id = ANY(closed)
      AND (u.created_at IS NULL OR num_nonnulls(u.name, u.email, u.gender, u.birth_year, u.city) > 0);
    INSERT INTO sign_ups_by_day AS d (day, customers)
    SELECT (created_at AT TIME ZONE 'Asia/Seoul')::date, count(*)
    FROM users WHERE user_id = ANY(stubs) GROUP BY 1 ORDER BY 1
    ON CONFLICT (day) DO UPDATE SET customers = d.customers + excluded.customers, changed_at = now();
    -- Dead letters are few, and have no index by key.
    UPDATE rejected_messages AS r
    SET payload = NULL, payload_bytes = NULL, detail = 'erased: the customer closed the account'
    WHERE r.topic IN ('users', 'customer_changes')
      AND (r.payload IS NOT NULL OR r.detail NOT LIKE 'erased: %')
      AND r.key IN (SELECT convert_to(c::text, 'UTF8') FROM unnest(closed) AS c);
END
$$;

-- Versions are put where their time says, in whatever order they arrive: those of a customer are
-- linked again by time. One writer at a time, as partitions could share a customer.
-- By the index, as the size of a batch is not known to the planner: a hash join would read all of
-- the table for it, which made a history with changes write a third of the orders a second.
CREATE FUNCTION keep_users_history() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    closed bigint[];
BEGIN
    LOCK TABLE users_history IN SHARE ROW EXCLUSIVE MODE;
    INSERT INTO users_history (user_id, valid_from, current, rev, kind, name, city,
        marketing_consent, change_id)
    SELECT user_id, updated_at, true, rev, kind, name, city, marketing_consent, change_id FROM added;
    UPDATE users_history AS h
    SET valid_to = v.next, current = v.next IS NULL, changed_at = now()
    FROM (SELECT user_id, valid_from, change_id, lead(valid_from) OVER (
              PARTITION BY user_id ORDER BY valid_from, rev, change_id) AS next
          FROM users_history WHERE user_id IN (SELECT user_id FROM added)) AS v
    WHERE h.user_id = v.user_id AND h.valid_from = v.valid_from AND h.change_id = v.change_id
      AND h.valid_to IS DISTINCT FROM v.next;
    SELECT array_agg(DISTINCT user_id) INTO closed FROM users_history
    WHERE kind = 'CLOSED' AND user_id IN (SELECT user_id FROM added);
    -- A history writes its customers at its end, and erases then.
    IF closed IS NOT NULL AND coalesce(current_setting('jangteo.backfill', true), '') <> 'on' THEN
        PERFORM erase_customers(closed);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER keep_users_history AFTER INSERT ON customer_changes
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION keep_users_history();

CREATE FUNCTION erase_dead_letter() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF encode(NEW.key, 'escape') ~ '^[0-9]{1,18}$' THEN
        IF EXISTS (SELECT FROM users_history WHERE kind = 'CLOSED'
                   AND user_id = encode(NEW.key, 'escape')::bigint) THEN
            NEW.payload = NULL;
            NEW.payload_bytes = NULL;
            NEW.detail = 'erased: the customer closed the account';
        END IF;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER erase_dead_letter BEFORE INSERT ON rejected_messages
    FOR EACH ROW WHEN (NEW.topic IN ('users', 'customer_changes'))
    EXECUTE FUNCTION erase_dead_letter();

COMMENT ON FUNCTION erase_customers(bigint[]) IS
    'erases names, addresses and dead letters of customers; their orders stay';
COMMENT ON FUNCTION keep_users_history() IS 'puts changes of customers into users_history';
COMMENT ON FUNCTION erase_dead_letter() IS 'keeps no bytes of a customer whose account is closed';
REVOKE EXECUTE ON FUNCTION erase_customers(bigint[]), keep_users_history(), erase_dead_letter()
    FROM PUBLIC;
