"""Notify an operator of verdicts: by the terminal, a command or a webhook."""
