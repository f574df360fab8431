"""ML-DSA key expansion (FIPS 204, algorithm 6), to check private keys that contain both forms.

A PKCS#8 file may contain the seed and the expanded key (RFC 9881 section 6).  Only the seed is used for
signing; this module derives the expanded key from it, so that a file with inconsistent forms is rejected.
It takes about 5 ms per key and is not hardened against timing attacks: it runs when an operator's file is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_Q: Final = 8380417
_D: Final = 13
_N: Final = 256


@dataclass(frozen=True, slots=True)
class Parameters:
    """A parameter set of FIPS 204 table 1: rows, columns and the range of the secret coefficients."""

    k: int
    l: int  # noqa: E741 - the standard's name
    eta: int


PARAMETERS: Final = {"mldsa44": Parameters(4, 4, 2), "mldsa65": Parameters(6, 5, 4), "mldsa87": Parameters(8, 7, 2)}

_ZETAS: Final = tuple(pow(1753, int(f"{m:08b}"[::-1], 2), _Q) for m in range(_N))
_INVERSE_OF_N: Final = pow(_N, -1, _Q)


def expand(name: str, seed: bytes) -> tuple[bytes, bytes]:
    """Derive the public key and the expanded private key from a 32-byte *seed*.

    :param name: ``mldsa44``, ``mldsa65`` or ``mldsa87``.
    """
    parameters = PARAMETERS[name]
    k, columns, eta = parameters.k, parameters.l, parameters.eta
    stream = hashlib.shake_256(seed + bytes((k, columns))).digest(128)
    rho, rho_prime, secret = stream[:32], stream[32:96], stream[96:]
    s1 = [_bounded(rho_prime + index.to_bytes(2, "little"), eta) for index in range(columns)]
    s2 = [_bounded(rho_prime + (columns + index).to_bytes(2, "little"), eta) for index in range(k)]
    transformed = [_ntt(poly) for poly in s1]
    t1, t0 = [], []
    for row in range(k):
        total = [0] * _N
        for column in range(columns):
            entry = _uniform(rho + bytes((column, row)))
            total = [(a + b * c) % _Q for a, b, c in zip(total, entry, transformed[column], strict=True)]
        high, low = zip(
            *(_power2round((a + b) % _Q) for a, b in zip(_inverse_ntt(total), s2[row], strict=True)), strict=True
        )
        t1.append(high)
        t0.append(low)
    public = rho + b"".join(_pack(poly, 10) for poly in t1)
    private = b"".join(
        (
            rho,
            secret,
            hashlib.shake_256(public).digest(64),
            *(_pack((eta - c for c in poly), (2 * eta).bit_length()) for poly in (*s1, *s2)),
            *(_pack(((1 << (_D - 1)) - c for c in poly), _D) for poly in t0),
        )
    )
    return public, private


def _pack(coefficients: Iterable[int], bits: int) -> bytes:
    """Pack coefficients of *bits* each, least significant first (algorithms 16 and 17)."""
    value = 0
    for index, coefficient in enumerate(coefficients):
        value |= coefficient << (bits * index)
    return value.to_bytes(bits * _N // 8, "little")


def _power2round(value: int) -> tuple[int, int]:
    """Decompose into high and low bits (algorithm 35)."""
    low = value & ((1 << _D) - 1)
    if low > 1 << (_D - 1):
        low -= 1 << _D
    return (value - low) >> _D, low


def _uniform(seed: bytes) -> list[int]:
    """Sample coefficients below q, from three bytes each (algorithm 30)."""
    size = 3 * 320
    while True:
        stream = hashlib.shake_128(seed).digest(size)
        coefficients = []
        for index in range(0, size, 3):
            value = stream[index] | stream[index + 1] << 8 | (stream[index + 2] & 0x7F) << 16
            if value < _Q:
                coefficients.append(value)
        if len(coefficients) >= _N:
            return coefficients[:_N]
        size += 3 * 64


def _bounded(seed: bytes, eta: int) -> list[int]:
    """Sample coefficients from -eta to eta, from half a byte each (algorithm 31)."""
    size = 320
    while True:
        coefficients = []
        for byte in hashlib.shake_256(seed).digest(size):
            for nibble in (byte & 15, byte >> 4):
                if eta == 2 and nibble < 15:
                    coefficients.append(2 - nibble % 5)
                elif eta == 4 and nibble < 9:
                    coefficients.append(4 - nibble)
        if len(coefficients) >= _N:
            return coefficients[:_N]
        size += 128


def _ntt(poly: list[int]) -> list[int]:
    """Transform to the NTT domain (algorithm 41)."""
    w = list(poly)
    m = 0
    length = 128
    while length >= 1:
        for start in range(0, _N, 2 * length):
            m += 1
            zeta = _ZETAS[m]
            for j in range(start, start + length):
                t = zeta * w[j + length] % _Q
                w[j + length] = (w[j] - t) % _Q
                w[j] = (w[j] + t) % _Q
        length //= 2
    return w


def _inverse_ntt(poly: list[int]) -> list[int]:
    """Transform back from the NTT domain (algorithm 42)."""
    w = list(poly)
    m = 256
    length = 1
    while length < _N:
        for start in range(0, _N, 2 * length):
            m -= 1
            zeta = -_ZETAS[m]
            for j in range(start, start + length):
                t = w[j]
                w[j] = (t + w[j + length]) % _Q
                w[j + length] = zeta * (t - w[j + length]) % _Q
        length *= 2
    return [c * _INVERSE_OF_N % _Q for c in w]
