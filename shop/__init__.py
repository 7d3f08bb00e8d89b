"""What every part of Jangteo shares: events, ids, settings and the way to each server."""
