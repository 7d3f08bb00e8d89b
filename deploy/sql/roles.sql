-- Who may do what: group roles without a login or a password. Run by `jangteo init --roles`, as
-- the owner of the tables, as often as you like. A process logs in as a role of its own that is a
-- member of one of these; `jangteo init --logins` makes one of each, shop_ingest and so on.
-- Not for a member: schema changes, `seed`, `windows rebuild`, `dlq replay`, the backfill. These
-- are the owner's.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY[
        'jangteo_ingest', 'jangteo_generator', 'jangteo_grader', 'jangteo_console']
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
    -- Staging tables are temporary ones; nobody else needs any.
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO jangteo_ingest, jangteo_grader',
                   current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO '
                   'jangteo_ingest, jangteo_generator, jangteo_grader, jangteo_console',
                   current_database());
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public
    TO jangteo_ingest, jangteo_generator, jangteo_grader, jangteo_console;
-- What an earlier version of this file granted.
REVOKE ALL ON ALL TABLES IN SCHEMA public
    FROM jangteo_ingest, jangteo_generator, jangteo_grader, jangteo_console;

-- The ingest writes all that comes by Kafka, but no grade, and deletes nothing.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO jangteo_ingest;
GRANT INSERT (user_id, name, email, gender, birth_year, city, created_at, last_ordered_at,
              order_count, total_spent),
      UPDATE (name, email, gender, birth_year, city, created_at, last_ordered_at,
              order_count, total_spent, changed_at)
    ON users TO jangteo_ingest;
GRANT INSERT, UPDATE ON products, orders, user_spend_windows, ingest_offsets, sales_by_hour,
    sales_by_product, sales_by_category, sales_by_payment_method, sales_by_cohort, sign_ups_by_day
    TO jangteo_ingest;
GRANT INSERT, UPDATE ON shipments, customer_changes, page_views, baskets TO jangteo_ingest;
GRANT INSERT ON product_prices TO jangteo_ingest;
-- users_history, its erasures and the links of product_prices are written by functions of the owner.
GRANT INSERT ON rejected_messages, spend_window_length TO jangteo_ingest;
GRANT EXECUTE ON FUNCTION make_months_ahead(integer) TO jangteo_ingest;

-- The generators and the cache worker read what the shop sells, to whom, and what was bought, and
-- from where a history is continued.
GRANT SELECT ON users, products, orders, user_spend_windows, spend_window_length, schema_migrations,
    backfill_runs, backfill_state, node_leases, sales_by_product
    TO jangteo_generator;
GRANT SELECT ON shipments, customer_changes, users_history, page_views, baskets TO jangteo_generator;
-- Every maker of ids takes, renews and releases a node number; the rows are there for good.
GRANT UPDATE (ceiling_ms, holder, name, host, hostname, pid, pid_started, acquired_at, expires_at)
    ON node_leases TO jangteo_generator;
-- The cache worker keeps the state of the simulated customers, which nobody else may see: it says
-- what they are about to do.
GRANT USAGE ON SCHEMA simulation TO jangteo_generator;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA simulation TO jangteo_generator;

-- The grader writes grades, their history and its own state. A second run of one instant corrects
-- what the first wrote of it.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO jangteo_grader;
GRANT UPDATE (grade, changed_at) ON users TO jangteo_grader;
GRANT INSERT ON grade_history, grade_runs TO jangteo_grader;
GRANT UPDATE (to_grade, cumulative_spend) ON grade_history TO jangteo_grader;
GRANT INSERT, UPDATE, DELETE ON grade_state, grade_moves_by_day TO jangteo_grader;

-- Console and dashboards look.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO jangteo_console;

-- Tables of later versions can be read at once; who may write them, that version says here.
ALTER DEFAULT PRIVILEGES IN SCHEMA public
    GRANT SELECT ON TABLES TO jangteo_ingest, jangteo_grader, jangteo_console;
