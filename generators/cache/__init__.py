"""The cache worker: PostgreSQL to the Redis cache, every 50 s."""
