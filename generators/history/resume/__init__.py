"""Resuming a finished history: the events after its end, as the clock reaches them."""
