"""The report of all benchmarks: what is run, how it is written, what the README quotes from it."""
