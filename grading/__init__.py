"""Customer grades from six months of paid spend."""
