{#- Of an incremental model over the orders: only the groups in which an order changed since its last
    run, and a look-back for transactions that committed late. Each of them is read as a whole. -#}
{% macro only_changed(column) %}
{% if is_incremental() %}
WHERE {{ column }} IN (
    SELECT {{ column }} FROM {{ ref('fct_orders') }}
    WHERE changed_at > (
        SELECT max(changed_at) - interval '{{ var("look_back") }}' FROM {{ this }}
    )
)
{% endif %}
{% endmacro %}
