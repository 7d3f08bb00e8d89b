"""What the console costs, measured at a terminal."""
