"""Which event loop a process runs on, whether it is in time, and what blocks it."""
