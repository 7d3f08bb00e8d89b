"""Kafka's side of the ingest: one consumer for each topic and worker, and where it begins."""
