"""Every fault of etcd, played on real processes and measured: ``python -m tests.faults --help``."""
