"""seawall beside what people use instead, under the same faults: ``python -m bench.peers``."""
