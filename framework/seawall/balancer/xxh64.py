"""XXH64, the hash of gRPC's ring (gRFC A42), for keys of the length of a name."""

from __future__ import annotations

from struct import iter_unpack
from typing import Final

_P1: Final = 0x9E3779B185EBCA87
_P2: Final = 0xC2B2AE3D27D4EB4F
_P3: Final = 0x165667B19E3779F9
_P4: Final = 0x85EBCA77C2B2AE63
_P5: Final = 0x27D4EB2F165667C5
_ALL: Final = 0xFFFFFFFFFFFFFFFF


def xxh64(data: bytes, seed: int = 0) -> int:
    """The 64-bit hash of ``data`` (XXH64 of the xxHash specification, 0.8)."""
    length = len(data)
    at = length & ~31
    value = _stripes(data, at, seed) if at else seed + _P5
    value = (value + length) & _ALL
    while at + 8 <= length:
        value ^= _round(0, int.from_bytes(data[at : at + 8], "little"))
        value = (((value << 27 | value >> 37) & _ALL) * _P1 + _P4) & _ALL
        at += 8
    if at + 4 <= length:
        value ^= int.from_bytes(data[at : at + 4], "little") * _P1 & _ALL
        value = (((value << 23 | value >> 41) & _ALL) * _P2 + _P3) & _ALL
        at += 4
    for byte in data[at:]:
        value ^= byte * _P5 & _ALL
        value = ((value << 11 | value >> 53) & _ALL) * _P1 & _ALL
    value = (value ^ value >> 33) * _P2 & _ALL
    value = (value ^ value >> 29) * _P3 & _ALL
    return value ^ value >> 32


def _stripes(data: bytes, end: int, seed: int) -> int:
    """All that comes in pieces of 32 bytes."""
    a, b, c, d = seed + _P1 + _P2, seed + _P2, seed, seed - _P1
    for one, two, three, four in iter_unpack("<4Q", data[:end]):
        a, b, c, d = _round(a, one), _round(b, two), _round(c, three), _round(d, four)
    value = (a << 1 | a >> 63) + (b << 7 | b >> 57) + (c << 12 | c >> 52) + (d << 18 | d >> 46)
    # What was turned out at the top comes in at the bottom; the sum needs its lower bits alone.
    for lane in (a, b, c, d):
        value = (((value ^ _round(0, lane)) & _ALL) * _P1 + _P4) & _ALL
    return value


def _round(lane: int, piece: int) -> int:
    lane = (lane + piece * _P2) & _ALL
    return ((lane << 31 | lane >> 33) & _ALL) * _P1 & _ALL
