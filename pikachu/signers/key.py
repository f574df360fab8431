"""Signers and decrypters over private keys of pyca/cryptography, local or remote.

They also accept a subclass of pyca's private key classes whose ``sign()`` calls a token or a remote service.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed

from cryptography.exceptions import InternalError
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from pikachu.core.errors import MalformedRequest, RequestError, SignerUnavailable
from pikachu.core.interfaces import IWorkerPool, ToBeSigned
from pikachu.signers.remote_keys import RemoteKey
from pikachu.x509.certificate import assemble, parse_certificate
from pikachu.x509.keys import PrivateKey, describe_private_key
from pikachu.x509.signature import request_algorithm, signature_algorithm, verify_signature
from pikachu.x509.spki import describe_spki

# Bytes; hashing more data takes longer than handing it to a thread.
_INLINE_SIZE = 64 << 10
_KEY_CHECK = b"check of an imported private key"
_CURVE_ALGORITHMS: dict[str, ec.ECDSA] = {
    "secp256r1": ec.ECDSA(hashes.SHA256()),
    "secp256k1": ec.ECDSA(hashes.SHA256()),
    "secp384r1": ec.ECDSA(hashes.SHA384()),
    "secp521r1": ec.ECDSA(hashes.SHA512()),
}


def sign_now(private_key: PrivateKey, data: bytes, digest: hashes.HashAlgorithm | None = None) -> bytes:
    """Sign *data* with the algorithm that ``signature_algorithm`` selects for the key.

    :param digest: overrides the digest for RSA and EC.
    """
    if isinstance(private_key, rsa.RSAPrivateKey):
        return private_key.sign(data, padding.PKCS1v15(), digest or hashes.SHA256())
    if isinstance(private_key, ec.EllipticCurvePrivateKey):
        return private_key.sign(data, ec.ECDSA(digest) if digest else _CURVE_ALGORITHMS[private_key.curve.name])
    return private_key.sign(data)


def sign_request(private_key: PrivateKey, info: bytes, digest: str | None) -> bytes:
    """Return the DER CertificationRequest (RFC 2986 section 4.2) for *info*, signed with the subject's key.

    :param digest: such as ``sha384``, for RSA and EC; ``None`` selects the default of the key type.
    :raises UnsupportedAlgorithm: signatures with that digest are not accepted here.
    """
    algorithm = request_algorithm(describe_private_key(private_key), digest)
    return assemble(info, algorithm.der, sign_now(private_key, info, algorithm.hash))


def check_key_pair(private_key: PrivateKey) -> None:
    """Check that the key signs what its public half verifies, as loading proves no factor of an RSA key prime.

    :raises MalformedRequest: a signature does not verify.
    """
    described = describe_private_key(private_key)
    try:
        signature = sign_now(private_key, _KEY_CHECK)
        verify_signature(described, signature_algorithm(described).der, signature, _KEY_CHECK)
    except (ValueError, InternalError, RequestError) as error:
        raise MalformedRequest("the signatures of the private key do not verify; the file is damaged") from error


def signs_inline(private_key: PrivateKey) -> bool:
    """Return whether a signature costs less than a hop to a thread (P-256 and Ed25519 in memory: about 0.03 ms)."""
    if isinstance(private_key, RemoteKey):
        return False
    if isinstance(private_key, ec.EllipticCurvePrivateKey):
        return private_key.curve.name == "secp256r1"
    return isinstance(private_key, ed25519.Ed25519PrivateKey)


class KeySigner:
    """An issuing key; see :class:`pikachu.core.interfaces.ISigner`.

    :param chain: DER certificates from the issuer to the root, both included.
    :param pool: makes the signatures that take longer than a hop to a thread; a key that is kept elsewhere has its own.
    """

    def __init__(
        self, private_key: PrivateKey, certificate: bytes, chain: tuple[bytes, ...], pool: IWorkerPool
    ) -> None:
        self._private_key = private_key
        self._certificate = certificate
        self._chain = chain
        self._pool = private_key.pool if isinstance(private_key, RemoteKey) else pool
        self._inline = signs_inline(private_key)
        self._algorithm = signature_algorithm(describe_spki(parse_certificate(certificate).spki_der)).der

    @property
    def certificate(self) -> bytes:
        """The DER certificate of the issuer."""
        return self._certificate

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The DER certificates from the issuer to the root."""
        return self._chain

    @property
    def algorithm(self) -> bytes:
        """The DER AlgorithmIdentifier of its signatures."""
        return self._algorithm

    def sign_certificate(self, to_be_signed: ToBeSigned) -> Deferred[bytes]:
        """Return the DER certificate with a signature over exactly the given bytes."""
        tbs = to_be_signed.tbs
        if self._inline and len(tbs) <= _INLINE_SIZE:
            try:
                return succeed(assemble(tbs, self._algorithm, _sign_or_unavailable(self._private_key, tbs)))
            except SignerUnavailable:
                return fail()
        return self.sign(tbs).addCallback(lambda signature: assemble(tbs, self._algorithm, signature))

    def sign(self, data: bytes) -> Deferred[bytes]:
        """Return the signature value over *data*; fails with SignerUnavailable."""
        if not self._inline or len(data) > _INLINE_SIZE:
            return self._pool.run(_sign_or_unavailable, self._private_key, data)
        try:
            return succeed(_sign_or_unavailable(self._private_key, data))
        except SignerUnavailable:
            return fail()

    def try_sign(self, data: bytes) -> bytes | None:
        """Return the signature, or ``None`` when signing belongs in a thread."""
        return sign_now(self._private_key, data) if self._inline and len(data) <= _INLINE_SIZE else None


def _sign_or_unavailable(private_key: PrivateKey, data: bytes) -> bytes:
    try:
        return sign_now(private_key, data)
    except (ValueError, RuntimeError) as error:
        raise SignerUnavailable("the issuing key does not sign now", error=repr(error)) from error


class RSADecrypter:
    """An RSA key that decrypts CMS content-encryption keys; see :class:`pikachu.core.interfaces.IDecrypter`."""

    def __init__(self, private_key: rsa.RSAPrivateKey, certificate: bytes, pool: IWorkerPool) -> None:
        self._private_key = private_key
        self._certificate = certificate
        self._pool = pool

    @property
    def certificate(self) -> bytes:
        """The DER certificate of the recipient."""
        return self._certificate

    def decrypt(self, encrypted_key: bytes, *, oaep_hash: str | None) -> Deferred[bytes | None]:
        """Return the content-encryption key, or ``None`` when the padding is wrong."""
        return self._pool.run(self._decrypt, encrypted_key, oaep_hash)

    def _decrypt(self, encrypted_key: bytes, oaep_hash: str | None) -> bytes | None:
        scheme: padding.AsymmetricPadding = padding.PKCS1v15()
        if oaep_hash is not None:
            digest = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256()}[oaep_hash]  # noqa: S303 - OAEP's default
            scheme = padding.OAEP(padding.MGF1(digest), digest, None)
        try:
            return self._private_key.decrypt(encrypted_key, scheme)
        except ValueError:
            return None


def rsa_decrypter(private_key: PrivateKey, certificate: bytes, pool: IWorkerPool) -> RSADecrypter | None:
    """Return the decrypter for messages to an issuing CA's own certificate, or ``None`` when its key only signs."""
    if isinstance(private_key, RemoteKey) or not isinstance(private_key, rsa.RSAPrivateKey):
        return None
    return RSADecrypter(private_key, certificate, pool)
