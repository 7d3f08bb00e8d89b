"""Visits and baskets: what customers look at, and which orders belong together."""
