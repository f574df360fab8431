"""Private keys that are kept elsewhere: pyca's classes over a function that has a token or a service sign.

They fit wherever this program signs with a private key, and have nothing that could be read or stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeAlias

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric import utils as asymmetric_utils

from pikachu.core.errors import ConfigError, UnsupportedAlgorithm
from pikachu.core.interfaces import IWorkerPool
from pikachu.x509.spki import describe_spki

#: Signs data with a digest; blocks.  RSA by PKCS#1 v1.5, ECDSA as the DER of r and s.  Raises SignerUnavailable.
SignData: TypeAlias = Callable[[bytes, hashes.HashAlgorithm], bytes]


class RemoteKey:
    """A key whose signatures are made elsewhere, so never in the reactor's thread.

    :ivar pool: the pool of its key source, whose threads may wait for it.
    """

    pool: IWorkerPool
    _sign: SignData

    def private_numbers(self) -> NoReturn:
        """Refuse.

        :raises UnsupportedAlgorithm: always.
        """
        raise UnsupportedAlgorithm("the private key is kept elsewhere and can't be read")

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> NoReturn:
        """Refuse.

        :raises UnsupportedAlgorithm: always.
        """
        raise UnsupportedAlgorithm("the private key is kept elsewhere and can't be read")


class RemoteECKey(RemoteKey, ec.EllipticCurvePrivateKey):
    """An EC key that is kept elsewhere."""

    def __init__(self, public_key: ec.EllipticCurvePublicKey, sign: SignData, pool: IWorkerPool) -> None:
        self._public_key = public_key
        self._sign = sign
        self.pool = pool

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public half."""
        return self._public_key

    @property
    def curve(self) -> ec.EllipticCurve:
        """The curve."""
        return self._public_key.curve

    @property
    def key_size(self) -> int:
        """The size of the field in bits."""
        return self._public_key.key_size

    def sign(self, data: bytes, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:  # type: ignore[override]
        """Return the ECDSA signature in DER.

        :raises SignerUnavailable: when there is none now.
        """
        return self._sign(data, _digest(signature_algorithm.algorithm))

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        """Refuse.

        :raises UnsupportedAlgorithm: always.
        """
        raise UnsupportedAlgorithm("this key only signs")

    def __copy__(self) -> RemoteECKey:
        """Return the key itself, which doesn't change."""
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> RemoteECKey:
        """Return the key itself, which doesn't change."""
        return self


class RemoteRSAKey(RemoteKey, rsa.RSAPrivateKey):
    """An RSA key that is kept elsewhere."""

    def __init__(self, public_key: rsa.RSAPublicKey, sign: SignData, pool: IWorkerPool) -> None:
        self._public_key = public_key
        self._sign = sign
        self.pool = pool

    def public_key(self) -> rsa.RSAPublicKey:
        """Return the public half."""
        return self._public_key

    @property
    def key_size(self) -> int:
        """The size of the modulus in bits."""
        return self._public_key.key_size

    def sign(  # type: ignore[override]
        self,
        data: bytes,
        padding: padding.AsymmetricPadding,
        algorithm: asymmetric_utils.Prehashed | hashes.HashAlgorithm,
    ) -> bytes:
        """Return the signature by PKCS#1 v1.5 (RFC 8017 section 8.2).

        :raises UnsupportedAlgorithm: for another padding.
        :raises SignerUnavailable: when there is none now.
        """
        if padding.name != "EMSA-PKCS1-v1_5":
            raise UnsupportedAlgorithm(f"this key signs by PKCS#1 v1.5, not by {padding.name}")
        return self._sign(data, _digest(algorithm))

    def decrypt(self, ciphertext: bytes, padding: padding.AsymmetricPadding) -> NoReturn:
        """Refuse: a server with such a key has an RA certificate for SCEP (SCEP-2).

        :raises UnsupportedAlgorithm: always.
        """
        raise UnsupportedAlgorithm("this key only signs")

    def __copy__(self) -> RemoteRSAKey:
        """Return the key itself, which doesn't change."""
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> RemoteRSAKey:
        """Return the key itself, which doesn't change."""
        return self


def remote_key(spki: bytes, sign: SignData, pool: IWorkerPool) -> RemoteECKey | RemoteRSAKey:
    """Return the key whose public half is *spki* and whose signatures are made by *sign*.

    :param spki: DER SubjectPublicKeyInfo; the key itself is not asked.
    :param pool: the threads in which *sign* is called.
    :raises BadPublicKey: when the CA does not accept the key.
    :raises ConfigError: when it is neither EC nor RSA.
    """
    described = describe_spki(spki)
    if isinstance(described.public_key, ec.EllipticCurvePublicKey):
        return RemoteECKey(described.public_key, sign, pool)
    if isinstance(described.public_key, rsa.RSAPublicKey):
        return RemoteRSAKey(described.public_key, sign, pool)
    raise ConfigError(f"a key of type {described.text} can only be kept in a file; elsewhere it is RSA or EC")


def _digest(algorithm: asymmetric_utils.Prehashed | hashes.HashAlgorithm) -> hashes.HashAlgorithm:
    if isinstance(algorithm, asymmetric_utils.Prehashed):
        raise UnsupportedAlgorithm("this key signs data, not digests")
    return algorithm
