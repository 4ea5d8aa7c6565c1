"""A small shop on seawall: the examples, and the fleet that ``make demo`` sets on fire."""
