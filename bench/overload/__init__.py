"""Servers under more load than they can carry: ``python -m bench.overload``."""
