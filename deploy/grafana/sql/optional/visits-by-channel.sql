-- How far the visits that began in this range came, from about 6,000 of them where there are more.
WITH {{ visits }}
SELECT channel AS "channel",
       round(count(*) / max(share))::bigint AS "visits",
       round(100.0 * count(*) FILTER (WHERE product) / count(*), 1) AS "saw a product",
       round(100.0 * count(*) FILTER (WHERE basket) / count(*), 1) AS "saw the basket",
       round(100.0 * count(*) FILTER (WHERE checkout) / count(*), 1) AS "saw the checkout",
       round(100.0 * count(*) FILTER (WHERE bought) / count(*), 1) AS "ordered"
FROM visits
GROUP BY channel
ORDER BY count(*) FILTER (WHERE bought)::float8 / count(*) DESC
