"""The command line: one module for each command that belongs to no single room."""
