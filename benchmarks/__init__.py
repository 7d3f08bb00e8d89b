"""Each headline figure, measured against what a user would do instead."""
