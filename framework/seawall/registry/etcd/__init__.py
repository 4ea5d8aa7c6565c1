"""The etcd registry: ``seawall.registry.etcd.registry.EtcdRegistry``."""
