-- Visits with an order among those that began in this range, per cent, from about 6,000 of them where
-- there are more.
WITH {{ visits }}
SELECT channel AS "channel",
       round(100.0 * count(*) FILTER (WHERE bought) / count(*), 1) AS "ordered, per cent"
FROM visits
GROUP BY channel
ORDER BY 2 DESC
