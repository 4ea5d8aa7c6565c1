"""Whether each service takes calls, from what it requires and its own check."""
