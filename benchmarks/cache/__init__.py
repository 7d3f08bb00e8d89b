"""What the cache saves: queries, time of a look-up, and how old what it holds becomes."""
