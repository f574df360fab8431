"""The key source of ``pkcs11:`` references: signing, creating and naming keys in a token (HSM-1)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pkcs11 import (
    Attribute,
    KeyType,
    Mechanism,
    MechanismFlag,
    ObjectClass,
    PKCS11Error,
    PrivateKey,
    Session,
)

from pikachu.core.errors import ConfigError, PikachuError, SignerUnavailable
from pikachu.core.interfaces import IWorkerPool
from pikachu.signers.pkcs11.sessions import KeyLost, TokenSession, TokenSessions
from pikachu.signers.pkcs11.uri import TokenKey, parse_token_key
from pikachu.signers.references import KeyReference
from pikachu.signers.remote_keys import remote_key
from pikachu.x509 import der
from pikachu.x509.keys import PrivateKey as AnyPrivateKey
from pikachu.x509.loading.public_keys import curve_of, rsa_public_key_info
from pikachu.x509.signature import SignatureAlgorithm, request_algorithm, verify_signature
from pikachu.x509.spki import CURVE_OIDS, EC_PUBLIC_KEY, KeyDescription, KeyFamily, describe_spki

# RFC 8017 appendix B.1.
_DIGESTS: Final = {
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}
_GENERATION: Final = re.compile(r"-[0-9a-f]{8}$")
_CHECK: Final = b"check of a key in a token"


class TokenKeys:
    """The keys of one token.

    :param token: its label, for references that name none or this one.
    :param pool: the threads for its calls; each has a session of its own.
    """

    def __init__(self, module: Path, token: str, read_pin: Callable[[], str], pool: IWorkerPool) -> None:
        self._token = token
        self._sessions = TokenSessions(module, token, read_pin)
        self._pool = pool
        self._loaded: dict[KeyReference, KeyDescription] = {}

    @property
    def pool(self) -> IWorkerPool:
        """The threads in which the token is called."""
        return self._pool

    def load(self, reference: KeyReference, spki: bytes | None) -> AnyPrivateKey:
        """Return the key; see :meth:`pikachu.signers.ca_keys.KeySource.load`."""
        name = self._parse(reference)
        key = describe_spki(self._sessions.run(lambda one: _public_key(one.session, name)) if spki is None else spki)
        signing = remote_key(key.spki, lambda data, digest: self._sign(name, key, data, digest), self._pool)
        self._loaded[reference] = key
        return signing

    def generate(self, reference: KeyReference, algorithm: str) -> None:
        """Create the key pair, sensitive and never extractable, unless there is a private key of that name."""
        name = self._parse(reference)
        found = self._sessions.run(lambda one: len(_find(one.session, ObjectClass.PRIVATE_KEY, name)))
        if found:
            return
        if not algorithm.startswith("rsa") and algorithm not in CURVE_OIDS:
            raise ConfigError(f"a key of type {algorithm} can't be made in a token; it is RSA or EC there")
        self._sessions.run_writing(lambda session: _generate(session, name, algorithm))

    def successor(self, reference: KeyReference) -> KeyReference:
        """Return a new label, which begins like the former one, and a new id."""
        name = self._parse(reference)
        number = secrets.token_bytes(4)
        label = f"{_GENERATION.sub('', name.label or 'pikachu')}-{number.hex()}"
        return TokenKey(self._token, label, number).reference()

    def check(self) -> str | None:
        """Sign something with each key."""
        for reference, key in list(self._loaded.items()):
            digest = request_algorithm(key, None).hash
            if digest is not None:
                self._sign(self._parse(reference), key, _CHECK, digest)
        if not self._loaded:
            self._sessions.run(lambda _: None)
        return None

    def _parse(self, reference: KeyReference) -> TokenKey:
        name = parse_token_key(reference)
        if name.token not in ("", self._token):
            raise ConfigError(
                f"{reference}: the key is in the token {name.token!r}, but [PKCS11] token is {self._token!r}; "
                "correct one of them"
            )
        return replace(name, token=self._token)

    def _sign(self, name: TokenKey, key: KeyDescription, data: bytes, digest: hashes.HashAlgorithm) -> bytes:
        algorithm = request_algorithm(key, digest.name)
        hasher = hashes.Hash(digest)
        hasher.update(data)
        hashed = hasher.finalize()

        def work(session: TokenSession) -> bytes:
            text = str(name)
            handle = session.keys.get(text)
            if handle is not None:
                return _signature(handle, key, hashed, digest)
            handle = _single_private_key(session.session, name)
            signature = _signature(handle, key, hashed, digest)
            _check_signature(name, key, algorithm, signature, data)
            session.keys[text] = handle
            return signature

        return self._sessions.run(work)


def _check_signature(
    name: TokenKey, key: KeyDescription, algorithm: SignatureAlgorithm, signature: bytes, data: bytes
) -> None:
    try:
        verify_signature(key, algorithm.der, signature, data)
    except PikachuError:
        raise KeyLost(
            f"The private key in the token with {name} is not the key of the CA's certificate. Correct the label, or "
            "put the certificate of that key in place."
        ) from None


def _find(session: Session, kind: ObjectClass, name: TokenKey) -> list[Any]:
    template: dict[Attribute, Any] = {Attribute.CLASS: kind}
    if name.label is not None:
        template[Attribute.LABEL] = name.label
    if name.id is not None:
        template[Attribute.ID] = name.id
    return list(session.get_objects(template))


def _single_private_key(session: Session, name: TokenKey) -> PrivateKey:
    found = _find(session, ObjectClass.PRIVATE_KEY, name)
    if not found:
        raise KeyLost(
            f"The token has no private key with {name}. `pikachu init --pkcs11` makes the key of a new CA; otherwise "
            "correct the label."
        )
    if len(found) > 1:
        raise KeyLost(
            f"The token has {len(found)} private keys with {name}. Give one another label, or name the key by its id "
            "in a key reference file."
        )
    key: PrivateKey = found[0]
    return key


def _public_key(session: Session, name: TokenKey) -> bytes:
    """Return the SubjectPublicKeyInfo of a key.

    :raises KeyLost: when the token has no public key object for the private key.
    """
    private = _single_private_key(session, name)
    if private.key_type not in (KeyType.RSA, KeyType.EC):
        raise KeyLost(f"The private key in the token with {name} is neither RSA nor EC.")
    found = _find(session, ObjectClass.PUBLIC_KEY, name) or _find(
        session, ObjectClass.PUBLIC_KEY, TokenKey("", None, private[Attribute.ID])
    )
    if len(found) != 1:
        raise KeyLost(f"The token has no public key, or several, for the private key with {name}. Import it there.")
    public = found[0]
    if private.key_type is KeyType.RSA:
        numbers = (int.from_bytes(public[what], "big") for what in (Attribute.MODULUS, Attribute.PUBLIC_EXPONENT))
        return rsa_public_key_info(*(der.integer(number) for number in numbers))
    point: bytes = public[Attribute.EC_POINT]
    parameters: bytes = public[Attribute.EC_PARAMS]
    # PKCS#11 section 6.3.3 wants an OCTET STRING; some modules give the point itself.
    if len(point) != 1 + 2 * curve_of(der.parse(parameters)).size:
        point = der.parse(point, der.OCTET_STRING).content
    return der.sequence(der.sequence(der.oid(EC_PUBLIC_KEY), parameters), der.bit_string(point))


def _signature(key: Any, described: KeyDescription, hashed: bytes, digest: hashes.HashAlgorithm) -> bytes:
    """Return the PKCS#1 v1.5 or ECDSA signature of a digest, which is made here: it is shorter than the data."""
    if described.family is KeyFamily.RSA:
        algorithm = der.sequence(der.oid(_DIGESTS[digest.name]), der.null())
        signed: bytes = key.sign(der.sequence(algorithm, der.octet_string(hashed)), mechanism=Mechanism.RSA_PKCS)
        return signed
    # FIPS 186-5 section 6.4.1: the leftmost bits, as many as the curve has.
    raw: bytes = key.sign(hashed[: (described.bits + 7) // 8], mechanism=Mechanism.ECDSA)
    half = len(raw) // 2
    return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))


def _generate(session: Session, name: TokenKey, algorithm: str) -> None:
    how: dict[str, Any] = {
        "id": name.id or secrets.token_bytes(8),
        "label": name.label or "pikachu",
        "store": True,
        "capabilities": MechanismFlag.SIGN | MechanismFlag.VERIFY,
        "private_template": {Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    }
    try:
        if algorithm.startswith("rsa"):
            session.generate_keypair(KeyType.RSA, int(algorithm[3:]), **how)
            return
        domain = {Attribute.EC_PARAMS: der.oid(CURVE_OIDS[algorithm])}
        parameters = session.create_domain_parameters(KeyType.EC, domain, local=True)
        parameters.generate_keypair(**how)
    except PKCS11Error as error:
        raise SignerUnavailable(
            f"The token makes no key of type {algorithm}: {type(error).__name__}. Choose another type, or free some "
            "space in the token."
        ) from None
