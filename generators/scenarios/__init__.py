"""Scenarios: what they are, when they run, what they do to orders."""
