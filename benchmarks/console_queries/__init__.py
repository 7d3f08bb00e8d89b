"""How long each query of the console takes on a large shop."""
