"""Decisions about one call: no I/O, no clock, no event loop of its own."""
