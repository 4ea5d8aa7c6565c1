"""The files that TLS needs, and what is wrong with them."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

import grpc

from seawall.errors import RegistryError
from seawall.registry.etcd.url import EtcdUrl

_DATES: Final = {9: "is not valid yet: is this machine's clock right?", 10: "has expired: renew it"}
"""By OpenSSL's verification result (X509_V_ERR_CERT_NOT_YET_VALID, ..._HAS_EXPIRED)."""
_STEPS: Final = 8
"""More than a TLS handshake takes."""


def credentials(url: EtcdUrl) -> grpc.ChannelCredentials:
    """Read the TLS files. They are read for each connection, so that they may be renewed.

    Raises ``RegistryError``: gRPC by itself would only fail to connect, without a reason.
    """
    try:
        context = ssl.create_default_context(cafile=url.ca)
    except (OSError, ssl.SSLError) as error:
        raise RegistryError(f"ca={url.ca} can't be used ({_reason(error)})") from None
    if url.cert and url.key:
        try:
            context.load_cert_chain(url.cert, url.key, password="")
        except (OSError, ssl.SSLError) as error:
            raise RegistryError(
                f"cert={url.cert} with key={url.key} can't be used ({_reason(error)})"
            ) from None
    return grpc.ssl_channel_credentials(_read(url.ca), _read(url.key), _read(url.cert))


def out_of_date(url: EtcdUrl) -> RegistryError | None:
    """What is wrong with the dates of our own certificate; None if they are right, or unknown.

    A peer that refuses an expired certificate says only that it is bad, and Python can't read a
    certificate's dates; so OpenSSL is asked, by showing the certificate to itself.
    """
    if not (url.cert and url.key):
        return None
    try:
        _show_to_itself(url.cert, url.key)
    except ssl.SSLCertVerificationError as error:
        words = _DATES.get(error.verify_code)
        return RegistryError(f"cert={url.cert} {words}") if words else None
    except (OSError, ssl.SSLError):
        pass
    return None


def _show_to_itself(cert: str, key: str) -> None:
    judge, owner = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context in (judge, owner):
        context.load_cert_chain(cert, key, password="")
    judge.load_verify_locations(cert)
    judge.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    judge.verify_mode = ssl.CERT_REQUIRED
    owner.check_hostname = False
    owner.verify_mode = ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (owner.wrap_bio(back, there), judge.wrap_bio(there, back, server_side=True))
    for step in range(_STEPS):
        try:
            ends[step % 2].do_handshake()
        except ssl.SSLWantReadError:
            continue


def _read(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path else None


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "not a PEM file"
    return error.strerror or str(error)
