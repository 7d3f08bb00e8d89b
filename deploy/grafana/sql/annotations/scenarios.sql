-- The hours in a row in which orders of a scenario were placed.
SELECT min(hour) AS time, max(hour) + interval '1 hour' AS timeend, scenario AS text
FROM (SELECT hour, scenario,
             hour - make_interval(hours => (row_number() OVER (PARTITION BY scenario ORDER BY hour))::int)
                 AS run
      FROM sales_by_hour
      WHERE $__timeFilter(hour) AND scenario <> 'none') AS h
GROUP BY scenario, run
ORDER BY 1
