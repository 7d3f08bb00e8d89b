"""The time axis of the console: the bar, the list of events, and moving in the record."""
