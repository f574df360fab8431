"""Private keys: loading, generation and encoding, and one place to import everything about keys from.

The accepted formats are PKCS#8 (RFC 5958), PKCS#1 (RFC 8017) and SEC 1 (RFC 5915), PEM or DER, encrypted or not.
An ML-DSA key is its seed, or seed and expanded key together (RFC 9881 section 6).
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from pikachu.core.errors import MalformedRequest, TooLarge, UnsupportedAlgorithm
from pikachu.x509 import der
from pikachu.x509.key_encryption import decrypt_pkcs8, decrypt_traditional, encrypt_pkcs8
from pikachu.x509.loading.private_keys import CURVE_CLASSES, ML_DSA_KINDS, PrivateKey, load_unencrypted_key
from pikachu.x509.pem import pem
from pikachu.x509.pem_blocks import Block, blocks, decode_text, labels_in
from pikachu.x509.signature import SignatureAlgorithm, parse_algorithm, signature_algorithm, verify_signature
from pikachu.x509.spki import KeyDescription, KeyFamily, PublicKey, check_modulus, describe_spki
from pikachu.x509.unsupported_files import foreign_name

__all__ = [
    "KEY_NAMES",
    "KeyDescription",
    "KeyFamily",
    "PrivateKey",
    "PublicKey",
    "SignatureAlgorithm",
    "check_modulus",
    "describe_private_key",
    "describe_spki",
    "generate_private_key",
    "load_private_key",
    "parse_algorithm",
    "passphrase_octets",
    "private_key_info",
    "private_key_pem",
    "public_key_matches",
    "signature_algorithm",
    "verify_signature",
]

# Names of the key types that can be generated.
KEY_NAMES: Final = (
    "rsa2048",
    "rsa3072",
    "rsa4096",
    "prime256v1",
    "secp384r1",
    "secp521r1",
    "secp256k1",
    "ed25519",
    "mldsa44",
    "mldsa65",
    "mldsa87",
)

#: Maximum size in bytes of a passphrase that OpenSSL accepts.
MAXIMUM_PASSPHRASE: Final = 1023
_MAXIMUM_SIZE: Final = 32 * 1024
_LABELS: Final = ("PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY")
# What is often taken for a private key.
_OTHER_LABELS: Final = {
    "DSA PRIVATE KEY": "a DSA key, which is not accepted; use RSA, EC, Ed25519 or ML-DSA",
    "PUBLIC KEY": "a public key; the private key is needed",
    "RSA PUBLIC KEY": "a public key; the private key is needed",
    "CERTIFICATE": "a certificate; the private key is needed",
    "CERTIFICATE REQUEST": "a certificate request; the private key is needed",
}
_PASSPHRASE_NEEDED: Final = "the private key is encrypted: its passphrase is needed"  # noqa: S105 - a message


def generate_private_key(name: str) -> PrivateKey:
    """Generate a private key; RSA may take seconds, so call it in a worker pool.

    :param name: one of :data:`KEY_NAMES`.
    :raises UnsupportedAlgorithm: *name* is another one.
    """
    if name in ("rsa2048", "rsa3072", "rsa4096"):
        return rsa.generate_private_key(65537, int(name[3:]))
    if name in CURVE_CLASSES:
        return ec.generate_private_key(CURVE_CLASSES[name]())
    if name == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    for known, kind in ML_DSA_KINDS.values():
        if name == known:
            return kind.generate()
    raise UnsupportedAlgorithm(f"unknown kind of key; use one of {', '.join(KEY_NAMES)}", name=name)


def load_private_key(data: bytes | str, passphrase: bytes | str | None = None) -> PrivateKey:
    """Load the private key in *data*, PEM or DER; an unnecessary passphrase is ignored.

    :param passphrase: the empty one is tried too; ``None`` opens nothing.
    :raises MalformedRequest: no private key, a wrong or missing passphrase, or halves that do not match.
    :raises UnsupportedAlgorithm: the encryption or the type of the key is not accepted.
    :raises BadPublicKey: the key is weak (see :func:`describe_spki`).
    :raises TooLarge: *data* exceeds 32 KiB.
    """
    raw = data.encode("utf-8", "replace") if isinstance(data, str) else data
    # JSON may contain a lone surrogate.
    secret = passphrase.encode("utf-8", "surrogatepass") if isinstance(passphrase, str) else passphrase
    if len(raw) > _MAXIMUM_SIZE:
        raise TooLarge("the private key is larger than 32 KiB")
    raw = decode_text(raw)
    if raw[:1] == b"\x30":
        key = _load_der(raw, secret)
    else:
        pem_blocks = blocks(raw, _LABELS)
        if not pem_blocks:
            raise MalformedRequest(_no_private_key(raw))
        if len(pem_blocks) > 1:
            raise MalformedRequest("more than one private key found")
        key = (
            _load_traditional(pem_blocks[0], secret)
            if pem_blocks[0].headers
            else _load_der(pem_blocks[0].der(), secret)
        )
    describe_private_key(key)
    return key


def _no_private_key(data: bytes) -> str:
    """Say what a file without an accepted private key is, if it is known."""
    other = next((_OTHER_LABELS[label] for label in labels_in(data) if label in _OTHER_LABELS), None)
    name = foreign_name(data) or other
    return f"this is {name}" if name else "no private key found; PEM or DER is expected"


def _load_traditional(block: Block, passphrase: bytes | None) -> PrivateKey:
    if passphrase is None:
        raise MalformedRequest(_PASSPHRASE_NEEDED, field="passphrase")
    return load_unencrypted_key(decrypt_traditional(block.text, block.der(), passphrase))


def _load_der(raw: bytes, passphrase: bytes | None) -> PrivateKey:
    parts = der.parse(raw, der.SEQUENCE).sub()
    if len(parts) != 2 or parts[0].tag != der.SEQUENCE:
        return load_unencrypted_key(raw)
    if passphrase is None:
        raise MalformedRequest(_PASSPHRASE_NEEDED, field="passphrase")
    return load_unencrypted_key(decrypt_pkcs8(parts[0], parts[1].expect(der.OCTET_STRING).content, passphrase))


def describe_private_key(key: PrivateKey) -> KeyDescription:
    """Describe the public half of *key*.

    :raises BadPublicKey: the key is not accepted.
    """
    public = key.public_key()
    return describe_spki(
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def public_key_matches(key: PrivateKey, spki: bytes) -> bool:
    """Return whether *spki*, a DER SubjectPublicKeyInfo, is the public half of *key*."""
    return describe_private_key(key).spki == spki


def private_key_info(key: PrivateKey) -> bytes:
    """Return the unencrypted DER PrivateKeyInfo; ML-DSA in its seed form."""
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def private_key_pem(key: PrivateKey, passphrase: bytes | str | None = None) -> str:
    """Return PKCS#8 as PEM, with a *passphrase* encrypted by AES-256-CBC, which takes a quarter of a second.

    :raises MalformedRequest: the passphrase is empty, or too long for OpenSSL (1023 bytes).
    """
    plain = private_key_info(key)
    if passphrase is None:
        return pem("PRIVATE KEY", plain)
    return pem("ENCRYPTED PRIVATE KEY", encrypt_pkcs8(plain, passphrase_octets(passphrase)))


def passphrase_octets(passphrase: bytes | str) -> bytes:
    """Encode a passphrase that protects a key.

    :raises MalformedRequest: it is empty, or longer than :data:`MAXIMUM_PASSPHRASE`.
    """
    secret = passphrase.encode("utf-8", "replace") if isinstance(passphrase, str) else passphrase
    if not 1 <= len(secret) <= MAXIMUM_PASSPHRASE:
        raise MalformedRequest(f"the passphrase must have 1 to {MAXIMUM_PASSPHRASE} octets", field="passphrase")
    return secret
