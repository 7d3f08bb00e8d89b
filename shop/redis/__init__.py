"""Redis: the cache, what the operator set, and heartbeats."""
