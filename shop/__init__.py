"""The parts that all of Jangteo shares: events, ids, settings and the way to each server."""
