"""Public keys, and private keys, of which only the public half is shown."""

from __future__ import annotations

import hashlib
from typing import Final

from pikachu.core.errors import BadPublicKey, MalformedRequest, UnsupportedAlgorithm
from pikachu.inspection.recognition.kinds import Decoded, Fact
from pikachu.x509 import der
from pikachu.x509.certificate import public_key_bits
from pikachu.x509.keys import PrivateKey, describe_private_key, describe_spki, load_private_key
from pikachu.x509.pem import pem
from pikachu.x509.spki import RSA_ENCRYPTION
from pikachu.x509.text.descriptions import algorithm_name, algorithm_text, first
from pikachu.x509.text.lines import Lines
from pikachu.x509.text.public_key import add_public_key, key_type

_PBES2: Final = "1.2.840.113549.1.5.13"


def private_key(data: bytes, passphrase: str | None) -> Decoded:
    """Decode a private key: its type, its encryption and its public key, never a private value.

    :param data: DER, or a PEM block under RFC 1421 encryption.
    :raises MalformedRequest: *data* is not a private key, or the passphrase is wrong.
    """
    format_name, encryption = _form(data)
    facts: list[Fact] = [("format", format_name), ("encryption", encryption or "none")]
    lines = Lines()
    lines.add(0, f"Private-Key: {format_name}{f', encrypted: {encryption}' if encryption else ''}")
    if encryption and not passphrase:
        facts.append(("passphrase", "needed"))
        return Decoded(tuple(facts), lines.text, locked=True)
    try:
        key = load_private_key(data, passphrase)
    except (BadPublicKey, UnsupportedAlgorithm) as error:
        facts.append(("accepted", f"no: {error.public}"))
        lines.add(1, error.public)
        return Decoded(tuple(facts), lines.text)
    public_facts, text = public_half(key)
    return Decoded((*facts, *public_facts), lines.text + text)


def public_half(key: PrivateKey) -> tuple[list[Fact], str]:
    """Return the fields and the text of the public key of *key*."""
    spki = describe_private_key(key).spki
    return _facts(spki), _text(spki)


def public_key(data: bytes) -> Decoded:
    """Decode a SubjectPublicKeyInfo or an RSAPublicKey (RFC 8017 appendix A.1.1).

    :raises MalformedRequest: *data* is neither.
    """
    if first(der.parse(data, der.SEQUENCE)).tag == der.INTEGER:
        data = der.sequence(der.sequence(der.oid(RSA_ENCRYPTION), der.null()), der.bit_string(data))
    text = _text(data)
    return Decoded(tuple(_facts(data)), text)


def _facts(spki: bytes) -> list[Fact]:
    accepted = "yes"
    try:
        describe_spki(spki)
    except BadPublicKey as error:
        accepted = f"no: {error.public}"
    return [
        ("key", key_type(der.parse(spki))),
        ("accepted", accepted),
        ("key_identifier", hashlib.sha1(public_key_bits(spki), usedforsecurity=False).hexdigest()),
        ("public_key_sha256", hashlib.sha256(spki).hexdigest()),
    ]


def _text(spki: bytes) -> str:
    lines = Lines()
    lines.add(0, "Subject Public Key Info:")
    add_public_key(lines, 1, der.parse(spki))
    return lines.text + pem("PUBLIC KEY", spki)


def _form(data: bytes) -> tuple[str, str | None]:
    """Return the name of the format, and the encryption or ``None``."""
    if data.startswith(b"-----BEGIN "):
        information = next((line for line in data.splitlines() if line.startswith(b"DEK-Info:")), b"DEK-Info: unknown")
        cipher = information.partition(b":")[2].partition(b",")[0].decode("ascii", "replace").strip()
        return "traditional PEM (RFC 1421)", cipher if cipher.isprintable() else "unknown"
    fields = der.parse(data, der.SEQUENCE).sub()
    if fields[0].tag == der.SEQUENCE:
        return "PKCS#8", encryption_text(fields[0])
    if len(fields) > 1 and fields[1].tag == der.SEQUENCE:
        return "PKCS#8", None
    return "SEC 1" if len(fields) > 1 and fields[1].tag == der.OCTET_STRING else "PKCS#1", None


def encryption_text(algorithm: der.Element) -> str:
    """Describe an encryption AlgorithmIdentifier and its iteration count.

    :raises MalformedRequest: it is unreadable.
    """
    name = algorithm_text(algorithm)
    parts = algorithm.sub()
    parameters = parts[1].sub() if len(parts) > 1 and parts[1].tag == der.SEQUENCE else []
    if parts[0].oid() != _PBES2:
        counts = [iterations_text(part) for part in parameters if part.tag == der.INTEGER]
        return ", ".join([name, *counts])
    if len(parameters) != 2:
        raise MalformedRequest("the encryption can't be read")
    derivation = parameters[0].expect(der.SEQUENCE).sub()
    costs = derivation[1].sub() if len(derivation) > 1 and derivation[1].tag == der.SEQUENCE else []
    counts = [iterations_text(part) for part in costs if part.tag == der.INTEGER][:1]
    prf = [algorithm_name(first(part).oid()) for part in costs if part.tag == der.SEQUENCE]
    descriptions = [algorithm_text(parameters[1]), algorithm_name(first(parameters[0]).oid()), *prf, *counts]
    return f"{name} ({', '.join(descriptions)})"


def iterations_text(element: der.Element) -> str:
    """Format an iteration count."""
    return f"{int.from_bytes(element.content[:8], 'big'):,} iterations"
