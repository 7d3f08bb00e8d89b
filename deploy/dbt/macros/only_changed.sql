{#- Of an incremental model: only the groups in which a row changed since its last run, and a look-back
    for transactions that committed late. Each of them is read as a whole. -#}
{% macro only_changed(column, of='fct_orders') %}
{% if is_incremental() %}
WHERE {{ column }} IN (
    SELECT {{ column }} FROM {{ ref(of) }}
    WHERE changed_at > (
        SELECT max(changed_at) - interval '{{ var("look_back") }}' FROM {{ this }}
    )
)
{% endif %}
{% endmacro %}
