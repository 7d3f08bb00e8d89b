-- How long the windows of user_spend_windows are: they all have one length, or a cancellation
-- would look for its amount in a window that is not there. No row before the first order.
CREATE TABLE spend_window_length (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    seconds  integer NOT NULL CHECK (seconds > 0 AND 86400 % seconds = 0)
);
COMMENT ON TABLE spend_window_length IS
    'length of every row of user_spend_windows; `jangteo windows rebuild` changes both';
INSERT INTO spend_window_length (seconds) SELECT 300 WHERE EXISTS (SELECT FROM user_spend_windows);

-- A sliding view over the tumbling rows, as fine as a window is long: a window counts if any part
-- of it lies in the last `minutes`, so none of them is missing and at most one window is too much.
-- Windows ahead of `as_of` (orders dated in the future) do not count.
CREATE FUNCTION spend_of_last(minutes integer, as_of timestamptz DEFAULT now())
    RETURNS TABLE (user_id bigint, orders bigint, spend bigint)
    LANGUAGE sql STABLE
AS $$
    SELECT w.user_id, sum(w.orders)::bigint, sum(w.spend)::bigint
    FROM user_spend_windows AS w
    WHERE w.window_start <= as_of
      AND w.window_start > as_of - make_interval(mins => minutes) - make_interval(
            secs => coalesce((SELECT seconds FROM spend_window_length), 0))
    GROUP BY w.user_id
    HAVING sum(w.orders) > 0
$$;

CREATE FUNCTION top_spenders(
    minutes integer DEFAULT 60, how_many integer DEFAULT 10, as_of timestamptz DEFAULT now())
    RETURNS TABLE (user_id bigint, name text, grade text, orders bigint, spend bigint)
    LANGUAGE sql STABLE
AS $$
    SELECT s.user_id, u.name, u.grade, s.orders, s.spend
    FROM (SELECT * FROM spend_of_last(minutes, as_of) AS l
          ORDER BY l.spend DESC, l.user_id LIMIT how_many) AS s
    JOIN users AS u USING (user_id)
    ORDER BY s.spend DESC, s.user_id
$$;

CREATE VIEW spend_last_hour AS SELECT user_id, orders, spend FROM spend_of_last(60);
COMMENT ON VIEW spend_last_hour IS 'per customer, PAID orders of the last 60 minutes; see spend_of_last';
