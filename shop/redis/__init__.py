"""Redis: the cache, the operator's settings, and heartbeats."""
