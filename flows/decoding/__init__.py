"""Messages to columns: what is valid, and how fast that is found out."""
