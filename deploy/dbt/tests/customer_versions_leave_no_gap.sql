-- A version ends where the next one begins; the last one is current.
SELECT user_id
FROM (
    SELECT
        *,
        lead(valid_from) OVER (PARTITION BY user_id ORDER BY valid_from, rev, change_id) AS next
    FROM {{ ref('stg_customer_versions') }}
) AS v
WHERE valid_to <> coalesce(next, 'infinity') OR is_current <> (next IS NULL)
