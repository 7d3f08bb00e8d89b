"""Orders straight into PostgreSQL against orders through Kafka and the ingest."""
