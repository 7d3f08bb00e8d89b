"""Record an incident for the documentation of the console."""
