"""Who buys what and when: pure functions, used by the live processes and by history."""
