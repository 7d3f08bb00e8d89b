"""Details of one thing, read when an operator opens it: bounded in rows, bytes and time."""
