"""Serving in several processes: what each of them is told, and the process of one."""
