"""Keys whose signatures are made elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import ConfigError, SignerUnavailable, UnsupportedAlgorithm
from pikachu.core.interfaces import IWorkerPool
from pikachu.signers.key import KeySigner, check_key_pair, rsa_decrypter, sign_now, signs_inline
from pikachu.signers.remote_keys import RemoteKey, remote_key
from pikachu.x509.keys import generate_private_key
from tests.support.deferreds import failure_of, result_of
from tests.support.pki import Identity, make_ca, make_key, spki

P = ParamSpec("P")
T = TypeVar("T")
KEY_TYPES = ("p256", "p384", "rsa2048")


class NoPool:
    """Runs nothing."""

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Fail."""
        raise AssertionError("a key that is elsewhere has its own pool")


def remote(ca: Identity, pool: IWorkerPool | None = None) -> Any:
    """The key of *ca*, as if it were elsewhere."""
    return remote_key(spki(ca.key), lambda data, digest: sign_now(ca.key, data, digest), pool or ImmediatePool())


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_signs_as_the_key_does(key_type: str) -> None:
    """The signer of such a key signs in the key's own pool, and the signatures verify."""
    ca = make_ca(key_type)
    key = remote(ca)
    assert RemoteKey in type(key).__mro__
    assert not signs_inline(key)
    check_key_pair(key)
    signer = KeySigner(key, ca.der, (ca.der,), NoPool())
    assert signer.try_sign(b"data") is None
    assert result_of(signer.sign(b"data"))
    assert (key.key_size, key.public_key()) == (ca.key.key_size, ca.key.public_key())  # type: ignore[union-attr]
    assert copy.copy(key) is copy.deepcopy(key) is key


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_away(key_type: str) -> None:
    """The signer fails as the place of the key does."""
    ca = make_ca(key_type)

    def sign(data: bytes, digest: hashes.HashAlgorithm) -> bytes:
        raise SignerUnavailable("the token is away", retry_after=9)

    key = remote_key(spki(ca.key), sign, ImmediatePool())
    error = failure_of(KeySigner(key, ca.der, (ca.der,), NoPool()).sign(b"data"), SignerUnavailable)
    assert (error.public, error.retry_after) == ("the token is away", 9)


def test_nothing_to_read() -> None:
    """Neither numbers nor bytes, nor another use than signatures."""
    for ca in (make_ca("p256"), make_ca("rsa2048")):
        key = remote(ca)
        with pytest.raises(UnsupportedAlgorithm, match="can't be read"):
            key.private_numbers()
        with pytest.raises(UnsupportedAlgorithm, match="can't be read"):
            key.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        assert rsa_decrypter(key, ca.der, ImmediatePool()) is None
    ecc, rsa = remote(make_ca("p256")), remote(make_ca("rsa2048"))
    with pytest.raises(UnsupportedAlgorithm, match="only signs"):
        ecc.exchange(ec.ECDH(), make_key("p256", 3).public_key())
    with pytest.raises(UnsupportedAlgorithm, match="only signs"):
        rsa.decrypt(b"x", padding.PKCS1v15())
    with pytest.raises(UnsupportedAlgorithm, match="EMSA-PSS"):
        rsa.sign(b"x", padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    for key, how in (
        (ecc, (ec.ECDSA(Prehashed(hashes.SHA256())),)),
        (rsa, (padding.PKCS1v15(), Prehashed(hashes.SHA256()))),
    ):
        with pytest.raises(UnsupportedAlgorithm, match="not digests"):
            key.sign(bytes(32), *how)


@pytest.mark.parametrize("name", ["mldsa44", "ed25519"])
def test_only_rsa_and_ec(name: str) -> None:
    """Other keys stay in files."""
    key = generate_private_key(name)
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ConfigError, match="only be kept in a file"):
        remote_key(public, lambda data, digest: b"", ImmediatePool())
    assert signs_inline(key) is isinstance(key, ed25519.Ed25519PrivateKey)
