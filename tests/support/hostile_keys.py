"""Keys that no library may be given: of other kinds, of absurd sizes, forged, and cut short; and what carries them.

``PUBLIC_KEYS`` and ``PRIVATE_KEYS`` name each key's DER: SubjectPublicKeyInfo, and PKCS#8 or PKCS#1.  The functions
below wrap one in a certificate, a request, a PKCS#12 file and a PKCS#7 message, whose signatures are not good.

The primes of the Diffie-Hellman keys and of the forged RSA keys are Mersenne's, so that nothing finds out quickly
that they are none: proving the larger ones prime takes a library from seconds to minutes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import Final

from pikachu.x509 import der

RSA: Final = "1.2.840.113549.1.1.1"
RSASSA_PSS: Final = "1.2.840.113549.1.1.10"
DH: Final = "1.2.840.113549.1.3.1"
X942_DH: Final = "1.2.840.10046.2.1"
DSA: Final = "1.2.840.10040.4.1"
EC: Final = "1.2.840.10045.2.1"
X25519: Final = "1.3.101.110"
X448: Final = "1.3.101.111"
ED25519: Final = "1.3.101.112"
ED448: Final = "1.3.101.113"
ML_DSA: Final = {
    "mldsa44": ("2.16.840.1.101.3.4.3.17", 1312),
    "mldsa65": ("2.16.840.1.101.3.4.3.18", 1952),
    "mldsa87": ("2.16.840.1.101.3.4.3.19", 2592),
}
P256: Final = "1.2.840.10045.3.1.7"
# OID, bytes of a coordinate.
CURVES: Final = {
    "prime256v1": (P256, 32),
    "secp384r1": ("1.3.132.0.34", 48),
    "secp521r1": ("1.3.132.0.35", 66),
    "secp256k1": ("1.3.132.0.10", 32),
}
OTHER_CURVES: Final = {
    "secp224r1": ("1.3.132.0.33", 28),
    "brainpoolP256r1": ("1.3.36.3.3.2.8.1.1.7", 32),
    "sect571r1": ("1.3.132.0.39", 72),
    "unknown": ("1.2.3.4.5", 32),
}
# P-256: field, a, b, generator, order.
_P256_FIELD: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_P256_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_P256_G: Final = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
_DSA_Q: Final = 2**256 - 189
_SMALL_PRIMES: Final = math.prod(n for n in range(3, 2000) if all(n % d for d in range(2, math.isqrt(n) + 1)))


def mersenne(exponent: int) -> int:
    """Return 2^exponent - 1: prime for 1279, 2203, 3217, 4253, 4423, 9689, 9941, 19937 and 23209."""
    return (1 << exponent) - 1


def modulus(bits: int, *, even: bool = False) -> int:
    """Return a number that looks like an RSA modulus: without small factors, of exactly so many bits."""
    if even:
        return modulus(bits) - 1
    value = random.Random(bits).getrandbits(bits) | 1 | 3 << (bits - 2)
    while math.gcd(value, _SMALL_PRIMES) != 1:
        value += 2
    return value


# --- public keys -------------------------------------------------------------------------


def spki(oid: str, parameters: bytes, key: bytes, unused: int = 0) -> bytes:
    """Return a SubjectPublicKeyInfo; *parameters* is DER, or empty where there are none."""
    return der.sequence(der.sequence(der.oid(oid), parameters), der.bit_string(key, unused))


def rsa_spki(n: int, e: int = 65537) -> bytes:
    """Return the SubjectPublicKeyInfo of an RSA key."""
    return spki(RSA, der.null(), der.sequence(der.integer(n), der.integer(e)))


def dh_spki(prime: int, oid: str = DH) -> bytes:
    """Return that of a Diffie-Hellman key with the generator 2."""
    parameters = [prime, 2] if oid == DH else [prime, 2, (prime - 1) // 2]
    return spki(oid, der.sequence(*map(der.integer, parameters)), der.integer(4))


def dsa_spki(prime: int, q: int = _DSA_Q) -> bytes:
    """Return that of a DSA key."""
    return spki(DSA, der.sequence(der.integer(prime), der.integer(q), der.integer(2)), der.integer(4))


def ec_spki(oid: str, point: bytes) -> bytes:
    """Return that of a key on a named curve."""
    return spki(EC, der.oid(oid), point)


def ec_parameters(field: int = _P256_FIELD, order: int = _P256_ORDER) -> bytes:
    """Return SpecifiedECDomain: P-256 written out, or with another field or order."""
    size = -(-field.bit_length() // 8)
    field_id = der.sequence(der.oid("1.2.840.10045.1.1"), der.integer(field))
    a = ((_P256_FIELD if size <= 32 else field) - 3).to_bytes(size, "big")
    curve = der.sequence(der.octet_string(a), der.octet_string(_P256_B.to_bytes(size, "big")))
    return der.sequence(der.integer(1), field_id, curve, der.octet_string(_P256_G), der.integer(order), der.integer(1))


def _public_keys() -> dict[str, bytes]:
    keys = {f"RSA {bits}": rsa_spki(modulus(bits)) for bits in (512, 768, 8200, 16384, 65536)}
    for bits in (2048, 3072, 4096, 8192):
        keys[f"RSA {bits}, even modulus"] = rsa_spki(modulus(bits, even=True))
        keys[f"RSA {bits}, exponent of {bits - 2} bits"] = rsa_spki(modulus(bits), modulus(bits - 2))
    exponents = {
        "0": 0,
        "1": 1,
        "2": 2,
        "-3": -3,
        "65536": 65536,
        "of 65 bits": (1 << 64) + 1,
        "of 2^20 bits": 1 << 2**20,
    }
    keys |= {f"RSA, exponent {name}": rsa_spki(modulus(2048), exponent) for name, exponent in exponents.items()}
    keys |= {
        "RSA, modulus 0": rsa_spki(0),
        "RSA, negative modulus": rsa_spki(-modulus(2048)),
        "RSA, three numbers": spki(RSA, der.null(), der.sequence(*map(der.integer, (modulus(2048), 65537, 1)))),
        "RSA, no numbers": spki(RSA, der.null(), der.sequence()),
        "RSA, garbage": spki(RSA, der.null(), b"\x30\x84\xff\xff\xff\xff"),
        "RSA, empty": spki(RSA, der.null(), b""),
        "RSA, not whole bytes": spki(RSA, der.null(), der.sequence(der.integer(modulus(2048)), der.integer(65537)), 1),
        "RSASSA-PSS": spki(RSASSA_PSS, b"", der.sequence(der.integer(modulus(2048)), der.integer(65537))),
    }
    keys |= {f"DH {exponent}": dh_spki(mersenne(exponent)) for exponent in (1279, 4423, 9941, 19937)}
    keys |= {f"X9.42 DH {exponent}": dh_spki(mersenne(exponent), X942_DH) for exponent in (1279, 4423, 9941)}
    keys |= {f"DSA {exponent}": dsa_spki(mersenne(exponent)) for exponent in (1279, 2203, 4423, 9941)}
    keys["DSA, inherited parameters"] = spki(DSA, b"", der.integer(4))
    for name, (oid, size) in CURVES.items():
        keys |= {
            f"{name}, off the curve": ec_spki(oid, b"\x04" + bytes(size - 1) + b"\x05" + bytes(size - 1) + b"\x07"),
            f"{name}, short point": ec_spki(oid, b"\x04" + bytes(2 * size - 1)),
            f"{name}, long point": ec_spki(oid, b"\x04" + bytes(2 * size + 1)),
            f"{name}, compressed": ec_spki(oid, b"\x02" + bytes(size - 1) + b"\x05"),
            f"{name}, infinity": ec_spki(oid, b"\x00"),
            f"{name}, empty point": ec_spki(oid, b""),
        }
    keys |= {f"EC {name}": ec_spki(oid, b"\x04" + bytes(2 * size)) for name, (oid, size) in OTHER_CURVES.items()}
    keys |= {
        "EC, no curve": spki(EC, b"", _P256_G),
        "EC, NULL curve": spki(EC, der.null(), _P256_G),
        "EC, explicit P-256": spki(EC, ec_parameters(), _P256_G),
        "EC, explicit, large field": spki(EC, ec_parameters(mersenne(9941), mersenne(9689)), _P256_G),
        "EC, explicit, garbage": spki(EC, der.sequence(), _P256_G),
    }
    for name, oid in (("X25519", X25519), ("X448", X448), ("Ed448", ED448)):
        keys |= {f"{name} of {size}": spki(oid, b"", bytes([9]) * size) for size in (0, 32, 56, 57)}
    keys |= {f"Ed25519 of {size}": spki(ED25519, b"", bytes([9]) * size) for size in (0, 16, 31, 33, 57, 60_000)}
    keys["Ed25519, NULL parameters"] = spki(ED25519, der.null(), bytes([9]) * 32)
    for name, (oid, size) in ML_DSA.items():
        keys |= {f"{name} of {wrong}": spki(oid, b"", bytes(wrong)) for wrong in (0, 32, size - 1, size + 1, 60_000)}
        keys[f"{name}, NULL parameters"] = spki(oid, der.null(), bytes(size))
    keys |= {
        "SLH-DSA": spki("2.16.840.1.101.3.4.3.20", b"", bytes(32)),
        "ML-KEM": spki("2.16.840.1.101.3.4.4.1", b"", bytes(800)),
        "unknown kind": spki("1.2.3.4", b"", bytes(64)),
        "unknown kind, deep parameters": spki("1.2.3.4", _nested(200), bytes(64)),
        "no algorithm": der.sequence(der.sequence(), der.bit_string(bytes(64))),
        "no key": der.sequence(der.sequence(der.oid(RSA), der.null())),
        "empty": der.sequence(),
    }
    return keys


def _nested(depth: int) -> bytes:
    found = b""
    for _ in range(depth):
        found = der.sequence(found)
    return found


# --- private keys ------------------------------------------------------------------------


def pkcs8(oid: str, parameters: bytes, content: bytes) -> bytes:
    """Return a PrivateKeyInfo."""
    return der.sequence(der.integer(0), der.sequence(der.oid(oid), parameters), der.octet_string(content))


def pkcs1(*numbers: int, version: int = 0) -> bytes:
    """Return an RSAPrivateKey: n, e, d, p, q, dp, dq, qinv, and what may follow them."""
    return der.sequence(der.integer(version), *map(der.integer, numbers))


def rsa_numbers(p: int, q: int, e: int = 65537) -> tuple[int, ...]:
    """Return the eight numbers of a consistent RSA key."""
    d = pow(e, -1, math.lcm(p - 1, q - 1))
    return (p * q, e, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p))


def _arctan(inverse: int, one: int) -> int:
    power = total = one // inverse
    divisor, sign = 3, -1
    while power:
        power //= inverse * inverse
        total += sign * (power // divisor)
        divisor, sign = divisor + 2, -sign
    return total


def modp_prime(bits: int) -> int:
    """Return the prime of that group of RFC 3526 (2048 or 4096 bits)."""
    guard = 64
    one = 1 << (bits - 130 + guard)
    pi = 4 * (4 * _arctan(5, one) - _arctan(239, one)) >> guard
    return _padded(bits, pi + {2048: 124476, 4096: 240904}[bits])


def ffdhe_prime(bits: int) -> int:
    """Return the prime of that group of RFC 7919 (2048 or 4096 bits)."""
    guard = 64
    term = total = 1 << (bits - 130 + guard)
    divisor = 1
    while term:
        term //= divisor
        total += term
        divisor += 1
    return _padded(bits, (total >> guard) + {2048: 560316, 4096: 5736041}[bits])


def _padded(bits: int, middle: int) -> int:
    return (1 << bits) - (1 << (bits - 64)) + (middle << 64) - 1


def genuine_rsa(bits: int) -> tuple[int, ...]:
    """Return the numbers of a good RSA key of 4096 or 8192 bits, made of two published primes."""
    return rsa_numbers(modp_prime(bits // 2), ffdhe_prime(bits // 2))


def sec1(scalar: bytes, oid: str = P256, *, parameters: bytes | None = None, public: bytes = b"") -> bytes:
    """Return an ECPrivateKey; *parameters* in place of the curve's OID."""
    parts = [der.integer(1), der.octet_string(scalar), der.explicit(0, parameters or der.oid(oid))]
    if public:
        parts.append(der.explicit(1, der.bit_string(public)))
    return der.sequence(*parts)


def _private_keys() -> dict[str, bytes]:
    good = genuine_rsa(4096)
    n, e, d, p, q, dp, dq, qinv = good
    huge = [mersenne(exponent) for exponent in (9689, 9941)]
    rsa = {
        "RSA, huge p and q": (n, e, d, *huge, dp, dq, qinv),
        "RSA, very huge p and q": (n, e, d, mersenne(19937), mersenne(23209), dp, dq, qinv),
        "RSA, huge d": (n, e, mersenne(19937), p, q, dp, dq, qinv),
        "RSA, huge dp": (n, e, d, p, q, mersenne(19937), dq, qinv),
        "RSA, huge dq": (n, e, d, p, q, dp, mersenne(19937), qinv),
        "RSA, huge qinv": (n, e, d, p, q, dp, dq, mersenne(19937)),
        "RSA, huge e": (n, mersenne(19937), d, p, q, dp, dq, qinv),
        "RSA, e as large as n": (n, n - 2, d, p, q, dp, dq, qinv),
        "RSA, even e": (n, 65536, d, p, q, dp, dq, qinv),
        "RSA, other factors": (n, e, d, q, q, dp, dq, qinv),
        "RSA, factors 1 and n": (n, e, d, 1, n, 0, d, 1),
        "RSA, no factors": (n, e, d, 0, 0, 0, 0, 0),
        "RSA, negative factors": (n, e, d, -p, -q, dp, dq, qinv),
        "RSA, other d": (n, e, d + 2, p, q, dp, dq, qinv),
        "RSA, other dp": (n, e, d, p, q, dp + 2, dq, qinv),
        "RSA, other qinv": (n, e, d, p, q, dp, dq, qinv + 2),
        "RSA, nothing": (0, 0, 0, 0, 0, 0, 0, 0),
        "RSA 19630": rsa_numbers(*huge),
        "RSA 511": rsa_numbers(2**255 - 19, 2**256 - 189),
    }
    keys = {f"{name} (PKCS#1)": pkcs1(*numbers) for name, numbers in rsa.items()}
    keys |= {name: pkcs8(RSA, der.null(), pkcs1(*numbers)) for name, numbers in rsa.items()}
    keys |= {
        "RSA, three primes": pkcs8(RSA, der.null(), pkcs1(*good, version=1)),
        "RSA, nine numbers": pkcs8(RSA, der.null(), pkcs1(*good, 5)),
        "RSA, five numbers": pkcs8(RSA, der.null(), pkcs1(*good[:5])),
        "RSA, garbage": pkcs8(RSA, der.null(), b"\x30\x84\xff\xff\xff\xff"),
        "RSA, empty": pkcs8(RSA, der.null(), b""),
    }
    for exponent in (1279, 4423, 9941):
        prime = mersenne(exponent)
        group = der.sequence(der.integer(prime), der.integer(2))
        keys |= {
            f"DH {exponent}": pkcs8(DH, group, der.integer(5)),
            f"X9.42 DH {exponent}": pkcs8(
                X942_DH, der.sequence(*map(der.integer, (prime, 2, (prime - 1) // 2))), der.integer(5)
            ),
            f"DSA {exponent}": pkcs8(DSA, der.sequence(*map(der.integer, (prime, _DSA_Q, 2))), der.integer(5)),
            f"DSA {exponent} (traditional)": pkcs1(prime, _DSA_Q, 2, 4, 5),
        }
    keys |= {
        "EC, explicit parameters (SEC 1)": sec1(bytes(31) + b"\x05", parameters=ec_parameters()),
        "EC, explicit parameters": pkcs8(EC, ec_parameters(), sec1(bytes(31) + b"\x05", parameters=ec_parameters())),
        "EC, large field": pkcs8(EC, ec_parameters(mersenne(9941)), sec1(bytes(31) + b"\x05")),
        "EC, large scalar": pkcs8(EC, der.oid(P256), sec1(b"\x05" * 2000)),
        "EC, empty scalar": pkcs8(EC, der.oid(P256), sec1(b"")),
        "EC, scalar 0": pkcs8(EC, der.oid(P256), sec1(bytes(32))),
        "EC, scalar above the order": pkcs8(EC, der.oid(P256), sec1(b"\xff" * 32)),
        "EC, another's point": pkcs8(EC, der.oid(P256), sec1(bytes(31) + b"\x05", public=_P256_G)),
        "EC, long point": pkcs8(EC, der.oid(P256), sec1(bytes(31) + b"\x05", public=b"\x04" + bytes(9000))),
        "EC, two curves": pkcs8(EC, der.oid(P256), sec1(bytes(31) + b"\x05", CURVES["secp384r1"][0])),
        "EC, garbage": pkcs8(EC, der.oid(P256), b"\x30\x84\xff\xff\xff\xff"),
        "EC, no curve (SEC 1)": der.sequence(der.integer(1), der.octet_string(bytes(31) + b"\x05")),
        "EC, a point and no curve (SEC 1)": der.sequence(
            der.integer(1), der.octet_string(bytes(31) + b"\x05"), der.explicit(1, der.bit_string(_P256_G))
        ),
        "EC, no curve": pkcs8(EC, b"", der.sequence(der.integer(1), der.octet_string(bytes(31) + b"\x05"))),
    }
    for name, (oid, size) in OTHER_CURVES.items():
        keys[f"EC {name}"] = pkcs8(EC, der.oid(oid), sec1(bytes(size - 1) + b"\x05", oid))
    for name, oid in (("Ed25519", ED25519), ("Ed448", ED448), ("X25519", X25519), ("X448", X448)):
        right = {ED25519: 32}.get(oid)
        keys |= {
            f"{name} of {size}": pkcs8(oid, b"", der.octet_string(b"\x09" * size))
            for size in (0, 16, 31, 32, 33, 56, 57, 20_000)
            if size != right
        }
        keys[f"{name}, bare"] = pkcs8(oid, b"", b"\x09" * 32)
    keys["Ed25519, NULL parameters"] = pkcs8(ED25519, der.null(), der.octet_string(b"\x09" * 32))
    for name, (oid, _) in ML_DSA.items():
        keys |= {
            f"{name}, seed of {size}": pkcs8(oid, b"", der.implicit(0, bytes(size))) for size in (0, 16, 31, 33, 20_000)
        }
        keys |= {
            f"{name}, other expanded key": pkcs8(
                oid, b"", der.sequence(der.octet_string(bytes(32)), der.octet_string(bytes(2560)))
            ),
            f"{name}, expanded key only": pkcs8(oid, b"", der.octet_string(bytes(2560))),
            f"{name}, bare": pkcs8(oid, b"", bytes(32)),
        }
    keys |= {
        "SLH-DSA": pkcs8("2.16.840.1.101.3.4.3.20", b"", bytes(64)),
        "ML-KEM": pkcs8("2.16.840.1.101.3.4.4.1", b"", bytes(64)),
        "unknown kind": pkcs8("1.2.3.4", b"", bytes(64)),
        "no algorithm": der.sequence(der.integer(0), der.sequence(), der.octet_string(bytes(64))),
    }
    return keys


# --- what carries them -------------------------------------------------------------------

SHA256_RSA: Final = der.sequence(der.oid("1.2.840.113549.1.1.11"), der.null())
SHA256_ECDSA: Final = der.sequence(der.oid("1.2.840.10045.4.3.2"))
SHA256_DSA: Final = der.sequence(der.oid("2.16.840.1.101.3.4.3.2"))


def _name(common_name: str) -> bytes:
    return der.sequence(der.tlv(der.SET, der.sequence(der.oid("2.5.4.3"), der.utf8_string(common_name))))


_NAME: Final = _name("hostile")
_SIGNATURE: Final = der.bit_string(b"\x05" * 256)
_CA: Final = der.sequence(
    der.sequence(der.oid("2.5.29.19"), der.boolean(True), der.octet_string(der.sequence(der.boolean(True))))
)


def certificate(
    public: bytes,
    *,
    serial: int = 5,
    is_ca: bool = False,
    subject: str = "hostile",
    algorithm: bytes = SHA256_RSA,
) -> bytes:
    """Return a certificate of the key with that SubjectPublicKeyInfo; its signature is not good.

    :param subject: the common name; the issuer is ``hostile``.
    :param algorithm: the AlgorithmIdentifier of the signature.
    """
    validity = der.sequence(der.tlv(der.UTC_TIME, b"250101000000Z"), der.tlv(der.UTC_TIME, b"490101000000Z"))
    version = der.explicit(0, der.integer(2))
    fields = [version, der.integer(serial), algorithm, _NAME, validity, _name(subject), public]
    if is_ca:
        fields.append(der.explicit(3, _CA))
    return der.sequence(der.sequence(*fields), algorithm, _SIGNATURE)


def csr(public: bytes) -> bytes:
    """Return a PKCS#10 request for that key; its signature is not good."""
    info = der.sequence(der.integer(0), _NAME, public, der.explicit(0, b""))
    return der.sequence(info, SHA256_RSA, _SIGNATURE)


def pkcs7(certificates: Iterable[bytes]) -> bytes:
    """Return a degenerate SignedData of those certificates."""
    content = der.sequence(der.oid("1.2.840.113549.1.7.1"))
    body = der.sequence(
        der.integer(1),
        der.tlv(der.SET, b""),
        content,
        der.explicit(0, b"".join(certificates)),
        der.tlv(der.SET, b""),
    )
    return der.sequence(der.oid("1.2.840.113549.1.7.2"), der.explicit(0, body))


def pkcs12(private: bytes | None = None, certificates: Iterable[bytes] = ()) -> bytes:
    """Return a PFX without encryption and without a MAC."""
    bags = [
        _bag("1.2.840.113549.1.12.10.1.3", der.sequence(der.oid("1.2.840.113549.1.9.22.1"), _octets(one)))
        for one in certificates
    ]
    if private is not None:
        bags.append(_bag("1.2.840.113549.1.12.10.1.1", private))
    data = der.oid("1.2.840.113549.1.7.1")
    safe = der.sequence(der.sequence(data, _octets(der.sequence(*bags))))
    return der.sequence(der.integer(3), der.sequence(data, _octets(safe)))


def _bag(oid: str, value: bytes) -> bytes:
    return der.sequence(der.oid(oid), der.explicit(0, value))


def _octets(content: bytes) -> bytes:
    return der.explicit(0, der.octet_string(content))


def _protected(parameters: bytes, arc: int, size: int) -> bytes:
    """Return a PFX whose only part is encrypted by a scheme of PKCS#12."""
    algorithm = der.sequence(der.oid(f"1.2.840.113549.1.12.1.{arc}"), parameters)
    content = der.sequence(der.oid("1.2.840.113549.1.7.1"), algorithm, der.implicit(0, bytes(size)))
    body = der.sequence(der.integer(0), content)
    return _pfx(der.sequence(der.oid("1.2.840.113549.1.7.6"), der.explicit(0, body)))


def _rounds(count: int, salt: bytes = b"saltsalt") -> bytes:
    return der.sequence(der.octet_string(salt), der.integer(count))


def _with_mac(count: int, size: int = 20) -> bytes:
    """Return an empty PFX with a MAC of SHA-1."""
    algorithm = der.sequence(der.oid("1.3.14.3.2.26"), der.null())
    return _pfx(mac=der.sequence(der.sequence(algorithm, der.octet_string(bytes(size))), *_parts(_rounds(count))))


def _pfx(*infos: bytes, mac: bytes = b"") -> bytes:
    data = der.oid("1.2.840.113549.1.7.1")
    return der.sequence(der.integer(3), der.sequence(data, _octets(der.sequence(*infos))), mac)


def _parts(sequence: bytes) -> list[bytes]:
    """Return the elements of a SEQUENCE."""
    return [part.whole for part in der.parse(sequence).children()]


def _indefinite(depth: int) -> bytes:
    """Return a PFX in BER whose content is sliced and nested in indefinite lengths."""
    inner = b"\x30\x80" * depth + b"\0\0" * depth
    data = der.oid("1.2.840.113549.1.7.1")
    return (
        b"\x30\x80" + der.integer(3) + b"\x30\x80" + data + b"\xa0\x80\x24\x80" + der.octet_string(inner) + b"\0\0" * 4
    )


def key_agreement_recipient(public: bytes) -> bytes:
    """Return a KeyAgreeRecipientInfo whose originator brings a public key (RFC 5652 section 6.2.2)."""
    originator = der.explicit(0, der.explicit(1, der.parse(public).content))
    algorithm = der.sequence(der.oid("1.3.133.16.840.63.0.2"))
    return der.explicit(1, der.integer(3) + originator + algorithm + der.sequence())


PUBLIC_KEYS: Final = _public_keys()
PRIVATE_KEYS: Final = _private_keys()
#: PKCS#12 files whose protection or structure is made to cost.
PKCS12_FILES: Final = {
    "rounds of the MAC, too many": _with_mac(2**31),
    "rounds of the MAC, just allowed": _with_mac(1_000_000),
    "long MAC": _with_mac(900_000, 60_000),
    **{f"scheme {arc}, just allowed": _protected(_rounds(1_000_000), arc, 64) for arc in (1, 3, 6)},
    "much under RC2": _protected(_rounds(1), 6, 60_000),
    "large under RC2": _protected(_rounds(1), 5, 600_000),
    "large under RC4": _protected(_rounds(1), 1, 600_000),
    "many contents": _pfx(*[der.sequence(der.oid("1.2.840.113549.1.7.1"))] * 20_000),
    "nested, indefinite": _indefinite(50_000),
    "sliced octet string": b"\x30\x80\x02\x01\x03\x24\x80" + b"\x04\x01x" * 200_000 + b"\0\0" * 2,
}
