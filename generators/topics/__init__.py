"""What publishes the optional topics, live and along a history: one module for each."""
