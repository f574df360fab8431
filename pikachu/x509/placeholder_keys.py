"""Public keys that stand for keys to be generated, in previews of certificates."""

from __future__ import annotations

import functools
import secrets
from typing import Final

from pikachu.core.errors import BadPublicKey
from pikachu.x509 import der
from pikachu.x509.keys import check_modulus, describe_private_key, generate_private_key
from pikachu.x509.loading.public_keys import rsa_public_key_info

_RSA: Final = "rsa"
_EXPONENT: Final = 65537


@functools.cache
def placeholder_public_key(kind: str) -> bytes:
    """Return a DER SubjectPublicKeyInfo of that kind; nobody has its private key.

    It takes a millisecond: an RSA modulus is a random number, since only its size matters.

    :param kind: one of :data:`pikachu.x509.keys.KEY_NAMES`.
    :raises UnsupportedAlgorithm: *kind* is another one.
    """
    if not kind.startswith(_RSA):
        return describe_private_key(generate_private_key(kind)).spki
    bits = int(kind.removeprefix(_RSA))
    while True:
        modulus = secrets.randbits(bits) | 1 << bits - 1 | 1
        try:
            check_modulus(modulus)
        except BadPublicKey:
            continue
        return rsa_public_key_info(der.integer(modulus), der.integer(_EXPONENT))
