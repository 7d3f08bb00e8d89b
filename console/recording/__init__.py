"""Record a session, and replay it."""
