"""What all rooms of Jangteo share: events, ids, settings and the access to each server."""
