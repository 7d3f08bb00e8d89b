"""Bad data on purpose, and the ledger that accounts for it."""
