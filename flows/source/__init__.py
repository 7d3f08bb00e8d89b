"""The Kafka side of the ingest: one consumer per topic and worker, and its start offsets."""
