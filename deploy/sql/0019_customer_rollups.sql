-- Customers added up as sales are since 0015, so that a dashboard reads hundreds of rows instead of
-- all customers and their orders: sign-ups by day, sales by month of sign-up, grade changes by day.

CREATE TABLE sign_ups_by_day (
    day         date PRIMARY KEY,
    customers   bigint NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
-- Both months are those that the ids carry: the cohort is known of every order without a look at the
-- customer, stubs included, and orders are partitioned by their ids. Events' own times are in the same
-- months unless they are wrong, or late by more than the rest of a month.
CREATE TABLE sales_by_cohort (
    cohort      date NOT NULL,
    month       date NOT NULL,
    orders      bigint NOT NULL,
    spend       bigint NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (cohort, month)
) WITH (fillfactor = 50);
CREATE TABLE grade_moves_by_day (
    day         date NOT NULL,
    from_grade  text NOT NULL,
    to_grade    text NOT NULL,
    customers   bigint NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, from_grade, to_grade)
);
-- Few rows, so the number of stubs is read at once. An update of a counter changes no column of it
-- and stays within the page (HOT).
CREATE INDEX users_stubs ON users (user_id) WHERE created_at IS NULL;

COMMENT ON TABLE sign_ups_by_day IS 'customers by day of sign-up in Seoul; stubs are in no row';
COMMENT ON COLUMN sign_ups_by_day.day IS 'day of created_at in Seoul';
COMMENT ON COLUMN sign_ups_by_day.customers IS 'who signed up on it';
COMMENT ON TABLE sales_by_cohort IS 'what the customers of a month of sign-up bought in each month';
COMMENT ON COLUMN sales_by_cohort.cohort IS 'first day of the month of sign-up in Seoul, by user_id';
COMMENT ON COLUMN sales_by_cohort.month IS 'first day of the month of the order in Seoul, by order_id';
COMMENT ON COLUMN sales_by_cohort.orders IS 'PAID orders';
COMMENT ON COLUMN sales_by_cohort.spend IS 'sum of their amount, KRW';
COMMENT ON TABLE grade_moves_by_day IS 'changes of grades by day in Seoul, of grade_history';
COMMENT ON COLUMN grade_moves_by_day.day IS 'day of as_of in Seoul';
COMMENT ON COLUMN grade_moves_by_day.from_grade IS 'before';
COMMENT ON COLUMN grade_moves_by_day.to_grade IS 'after';
COMMENT ON COLUMN grade_moves_by_day.customers IS 'whose grade changed so';
DO $$
DECLARE
    tab text;
BEGIN
    FOREACH tab IN ARRAY ARRAY['sign_ups_by_day', 'sales_by_cohort', 'grade_moves_by_day']
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.ingested_at IS %L', tab,
                       'when the row was first stored; never rewritten');
        EXECUTE format('COMMENT ON COLUMN %I.changed_at IS %L', tab,
                       'when the row was last changed; for incremental loads');
    END LOOP;
END
$$;

-- What the rollups have to say, as in 0015.
CREATE FUNCTION sign_ups_by_day_of_users() RETURNS TABLE (day date, customers bigint)
LANGUAGE sql STABLE AS $$
    SELECT (created_at AT TIME ZONE 'Asia/Seoul')::date, count(*)
    FROM users WHERE created_at IS NOT NULL GROUP BY 1
$$;
CREATE FUNCTION month_of_id(id bigint) RETURNS date
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- 12 bits of node and sequence, then milliseconds since 2020; Seoul is 9 h ahead of UTC.
    SELECT date_trunc('month', timestamp '2020-01-01 09:00' + (id >> 12) * interval '1 ms')::date
$$;
COMMENT ON FUNCTION month_of_id(bigint) IS 'first day of the month in Seoul that an id carries';
CREATE FUNCTION sales_by_cohort_of_orders() RETURNS TABLE (cohort date, month date, orders bigint,
    spend bigint)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    -- What detached months sold, where 0017 was applied: by the month of the orders' ids, too.
    IF to_regclass('public.detached_spend') IS NULL THEN
        RETURN QUERY
        SELECT month_of_id(o.user_id), month_of_id(o.order_id), count(*), sum(o.amount)::bigint
        FROM orders AS o WHERE o.status = 'PAID' GROUP BY 1, 2;
    ELSE
        RETURN QUERY
        SELECT s.cohort, s.month, sum(s.orders)::bigint, sum(s.spend)::bigint
        FROM (SELECT month_of_id(o.user_id) AS cohort, month_of_id(o.order_id) AS month,
                     count(*) AS orders, sum(o.amount) AS spend
              FROM orders AS o WHERE o.status = 'PAID' GROUP BY 1, 2
              UNION ALL
              SELECT month_of_id(d.user_id), d.month, d.orders, d.spend
              FROM detached_spend AS d) AS s
        GROUP BY 1, 2;
    END IF;
END
$$;
CREATE FUNCTION grade_moves_by_day_of_history() RETURNS TABLE (day date, from_grade text,
    to_grade text, customers bigint)
LANGUAGE sql STABLE AS $$
    SELECT (as_of AT TIME ZONE 'Asia/Seoul')::date, h.from_grade, h.to_grade, count(*)
    FROM grade_history AS h GROUP BY 1, 2, 3
$$;

-- For what adds customers in bulk; others that add some wait.
CREATE FUNCTION recount_sign_ups() RETURNS void LANGUAGE sql AS $$
    LOCK TABLE users, sign_ups_by_day IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM sign_ups_by_day;
    INSERT INTO sign_ups_by_day (day, customers) SELECT * FROM sign_ups_by_day_of_users();
$$;

CREATE FUNCTION rebuild_customer_rollups() RETURNS void LANGUAGE plpgsql
SET work_mem = '256MB' AS $$
BEGIN
    LOCK TABLE orders, users, sign_ups_by_day, sales_by_cohort, grade_history, grade_moves_by_day
        IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM sales_by_cohort;
    DELETE FROM grade_moves_by_day;
    PERFORM recount_sign_ups();
    INSERT INTO sales_by_cohort (cohort, month, orders, spend)
    SELECT * FROM sales_by_cohort_of_orders();
    INSERT INTO grade_moves_by_day (day, from_grade, to_grade, customers)
    SELECT * FROM grade_moves_by_day_of_history();
END
$$;
SELECT rebuild_customer_rollups();

-- For the grader, after it has written the history of a run: the day of that run, counted again, so
-- that a second run of the same instant is not counted twice.
CREATE FUNCTION count_grade_moves(as_of timestamptz) RETURNS void LANGUAGE sql AS $$
    DELETE FROM grade_moves_by_day WHERE day = (as_of AT TIME ZONE 'Asia/Seoul')::date;
    INSERT INTO grade_moves_by_day (day, from_grade, to_grade, customers)
    SELECT (count_grade_moves.as_of AT TIME ZONE 'Asia/Seoul')::date, h.from_grade, h.to_grade, count(*)
    FROM grade_history AS h
    WHERE h.as_of >= date_trunc('day', count_grade_moves.as_of, 'Asia/Seoul')
      AND h.as_of < date_trunc('day', count_grade_moves.as_of, 'Asia/Seoul') + interval '1 day'
    GROUP BY h.from_grade, h.to_grade
$$;

-- Tables that are emptied take their sums along, as in 0015.
CREATE FUNCTION empty_customer_rollup() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DELETE FROM %I', TG_ARGV[0]);
    RETURN NULL;
END
$$;
CREATE TRIGGER empty_sign_ups AFTER TRUNCATE ON users
    EXECUTE FUNCTION empty_customer_rollup('sign_ups_by_day');
CREATE TRIGGER empty_cohorts AFTER TRUNCATE ON orders
    EXECUTE FUNCTION empty_customer_rollup('sales_by_cohort');
CREATE TRIGGER empty_grade_moves AFTER TRUNCATE ON grade_history
    EXECUTE FUNCTION empty_customer_rollup('grade_moves_by_day');
