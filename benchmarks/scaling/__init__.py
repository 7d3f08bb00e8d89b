"""How the ingest scales: out over processes, and up with the rows that are there."""
