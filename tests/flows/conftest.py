"""Lets the tests of the ingest import their samples."""
