"""The processes that feed the shop: users, products, orders, the cache, the start population."""
