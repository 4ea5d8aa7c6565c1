"""``dns://``: instances that the DNS knows, for where something else announces them there."""

try:
    from seawall.registry.dns.registry import DnsRegistry
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "dns":
        raise
    raise ImportError("it needs the library dnspython: pip install 'seawall[dns]'") from error

__all__ = ["DnsRegistry"]
