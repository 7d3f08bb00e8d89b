"""Kafka to PostgreSQL, exactly once: the Bytewax dataflow and its parts."""
