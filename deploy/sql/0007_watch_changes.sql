-- The triggers by which a grader learns of changes to orders older than `kept` (see 0003), and of
-- customers who are gone (0006). A function, so that a grader that does not own the tables can be
-- given this and nothing else:
-- `jangteo init --roles` makes it run as its owner, for the role jangteo_grader alone. Hence the
-- fixed search path: no table or function of the caller can stand in the way of these.
CREATE FUNCTION watch_changes(kept timestamptz) RETURNS void LANGUAGE plpgsql STRICT
SET search_path = pg_catalog, public, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO' AS $$
DECLARE
    event text;
    older text;
BEGIN
    FOR event, older IN VALUES
        ('insert', 'NEW.ordered_at < %1$L'),
        ('update', 'OLD.ordered_at < %1$L OR NEW.ordered_at < %1$L'),
        ('delete', 'OLD.ordered_at < %1$L')
    LOOP
        EXECUTE format(
            'CREATE OR REPLACE TRIGGER %I AFTER %s ON public.orders FOR EACH ROW WHEN (%s) '
            'EXECUTE FUNCTION public.keep_old_order_change()',
            'old_order_' || event, event, format(older, kept));
        -- Always: a replica's apply process and a restore write orders too.
        EXECUTE format('ALTER TABLE public.orders ENABLE ALWAYS TRIGGER %I', 'old_order_' || event);
    END LOOP;
    CREATE OR REPLACE TRIGGER customer_lost AFTER DELETE OR UPDATE OF user_id ON public.users
        FOR EACH ROW EXECUTE FUNCTION public.keep_lost_customer();
    ALTER TABLE public.users ENABLE ALWAYS TRIGGER customer_lost;
END
$$;
