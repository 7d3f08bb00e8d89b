-- Visits that began on each day of Seoul, or in each week in ranges of more than 92 days; from about
-- 6,000 of them where there are more.
WITH {{ visits }}
SELECT day AS time,
       channel AS metric,
       round(count(*) / max(share))::bigint AS value
FROM visits
GROUP BY 1, 2
ORDER BY 1, 2
