"""A history: the same behaviour on a virtual clock, written to one of three targets."""
