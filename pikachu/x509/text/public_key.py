"""A SubjectPublicKeyInfo as text, of any type and strength."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.x509 import der
from pikachu.x509.spki import EC_PUBLIC_KEY, ED25519, ML_DSA_44, ML_DSA_65, ML_DSA_87, RSA_ENCRYPTION
from pikachu.x509.text.descriptions import algorithm_name, value_text
from pikachu.x509.text.lines import Lines

# OID of the curve → its bits, and its NIST name.
_CURVES: Final = {
    "1.2.840.10045.3.1.1": (192, "P-192"),
    "1.3.132.0.33": (224, "P-224"),
    "1.2.840.10045.3.1.7": (256, "P-256"),
    "1.3.132.0.34": (384, "P-384"),
    "1.3.132.0.35": (521, "P-521"),
    "1.3.132.0.10": (256, ""),
}
# Keys that are a single byte string: the key type in this CA, and the size in bits if it is customary, else 0.
_BYTE_STRING_KEYS: Final = {
    ED25519: ("Ed25519", 256),
    "1.3.101.113": ("Ed448", 456),
    "1.3.101.110": ("X25519", 253),
    "1.3.101.111": ("X448", 448),
    ML_DSA_44: ("PQC/mldsa44", 0),
    ML_DSA_65: ("PQC/mldsa65", 0),
    ML_DSA_87: ("PQC/mldsa87", 0),
}


@dataclass(frozen=True, slots=True)
class _Key:
    """A parsed key: its algorithm, parameters and bytes, and the numbers of an RSA key."""

    oid: str
    parameters: der.Element | None
    key_bytes: bytes
    numbers: tuple[der.Element, ...] = ()

    @property
    def bits(self) -> int:
        """The customary size in bits, or 0."""
        if self.numbers:
            return int.from_bytes(self.numbers[0].content, "big").bit_length()
        return _CURVES[self.curve][0] if self.curve in _CURVES else _BYTE_STRING_KEYS.get(self.oid, ("", 0))[1]

    @property
    def curve(self) -> str:
        """The OID of the curve of an EC key, or ``""``."""
        if self.oid != EC_PUBLIC_KEY or self.parameters is None or self.parameters.tag != der.OBJECT_IDENTIFIER:
            return ""
        return self.parameters.oid()


def _read(spki: der.Element) -> _Key:
    parts = spki.expect(der.SEQUENCE).sub()
    if len(parts) != 2:
        raise MalformedRequest("a SubjectPublicKeyInfo has two parts")
    algorithm = parts[0].expect(der.SEQUENCE).sub()
    if not 1 <= len(algorithm) <= 2:
        raise MalformedRequest("an AlgorithmIdentifier has one or two parts")
    oid = algorithm[0].oid()
    key_bytes = parts[1].expect(der.BIT_STRING).content[1:]
    numbers: tuple[der.Element, ...] = ()
    if oid == RSA_ENCRYPTION:
        numbers = tuple(der.parse(key_bytes, der.SEQUENCE).sub(der.INTEGER))
        if len(numbers) != 2:
            raise MalformedRequest("an RSA public key has two numbers")
    return _Key(oid, algorithm[1] if len(algorithm) == 2 else None, key_bytes, numbers)


def key_type(spki: der.Element) -> str:
    """Return the key type, as everywhere in this CA: ``RSA/2048``, ``EC/prime256v1``, ``Ed25519``, ``PQC/mldsa44``.

    :raises MalformedRequest: it is no SubjectPublicKeyInfo.
    """
    key = _read(spki)
    if key.oid == RSA_ENCRYPTION:
        return f"RSA/{key.bits}"
    if key.oid == EC_PUBLIC_KEY:
        return f"EC/{algorithm_name(key.curve) if key.curve else 'explicit parameters'}"
    return _BYTE_STRING_KEYS[key.oid][0] if key.oid in _BYTE_STRING_KEYS else algorithm_name(key.oid)


def add_public_key(lines: Lines, depth: int, spki: der.Element) -> None:
    """Write algorithm, parameters and the key itself.

    :raises MalformedRequest: it is no SubjectPublicKeyInfo.
    """
    key = _read(spki)
    lines.add(depth, f"Public Key Algorithm: {algorithm_name(key.oid)}")
    if key.bits:
        lines.add(depth + 1, f"Public-Key: ({key.bits} bit)")
    if key.numbers:
        modulus, exponent = key.numbers
        lines.add(depth + 1, "Modulus:")
        lines.hexadecimal(depth + 2, modulus.content)
        number = int.from_bytes(exponent.content[:8], "big")
        lines.add(depth + 1, f"Exponent: {number} (0x{number:x})" if len(exponent.content) <= 8 else "Exponent:")
        if len(exponent.content) > 8:
            lines.hexadecimal(depth + 2, exponent.content)
        return
    lines.add(depth + 1, "pub:")
    lines.hexadecimal(depth + 2, key.key_bytes)
    if key.curve:
        lines.add(depth + 1, f"ASN1 OID: {algorithm_name(key.curve)}")
        if key.curve in _CURVES and _CURVES[key.curve][1]:
            lines.add(depth + 1, f"NIST CURVE: {_CURVES[key.curve][1]}")
    elif key.parameters is not None:
        lines.add(depth + 1, f"Parameters: {value_text(key.parameters)}")
