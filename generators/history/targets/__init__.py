"""Where a history is written: PostgreSQL, Parquet files, Kafka."""
