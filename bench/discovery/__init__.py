"""How fast, how cheaply and how calmly instances are found: ``python -m bench.discovery``."""
