-- Baskets of this range, from the lines of about 10,000 orders where there are more. A basket is what a
-- customer ordered on one day of Seoul.
WITH {{ lines }}
SELECT round(count(*) FILTER (WHERE order_id = basket_id) / max(share))::bigint AS "baskets",
       round(100.0 * count(*) FILTER (WHERE order_id = basket_id AND EXISTS (
           SELECT FROM baskets AS b
           WHERE b.basket_id = lines.basket_id AND b.order_id <> lines.order_id))
           / greatest(1, count(*) FILTER (WHERE order_id = basket_id)), 1)
           AS "with several orders, per cent",
       round(100.0 * count(coupon) / count(*), 1) AS "orders with a coupon, per cent",
       round(sum(coupon_discount) / max(share))::bigint AS "taken off by coupons",
       coalesce(round(avg(coupon_discount) FILTER (WHERE coupon IS NOT NULL)), 0)
           AS "mean coupon"
FROM lines
HAVING count(*) > 0
