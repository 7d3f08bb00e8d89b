-- What coupons took off the orders of each day of Seoul, or of each week in ranges of more than 92 days;
-- from about 10,000 orders where there are more.
WITH {{ lines }}
SELECT day AS time,
       round(sum(coupon_discount) / max(share))::bigint AS "taken off by coupons"
FROM lines
GROUP BY 1
ORDER BY 1
