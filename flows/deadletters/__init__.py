"""Dead letters on the command line: list, show, replay, purge."""
