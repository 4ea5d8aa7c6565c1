"""Benchmarks: what seawall costs, measured as ratios in one run and never asserted."""
