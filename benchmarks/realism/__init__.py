"""Statistics of the shop's data, with targets: of a history, and of the live stream."""
