"""An issuing CA whose key is in Vault's transit engine, against OpenBao (VLT-1, VLT-4)."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import ConfigError
from pikachu.signers.key import sign_now
from pikachu.signers.references import KeyReference
from pikachu.signers.vault.faults import VaultRefused
from pikachu.signers.vault.source import VaultKeys
from pikachu.signers.vault.transit_keys import SCHEME, TYPES, Transit, TransitKey
from pikachu.x509.keys import describe_private_key, generate_private_key
from pikachu.x509.signature import signature_algorithm, verify_signature
from pikachu.x509.spki import describe_spki
from tests.support.vault import OpenBao, openbao

pytestmark = pytest.mark.interop

#: Vault takes many seconds for the long RSA keys.
ALGORITHMS = [pytest.param(one, marks=pytest.mark.soak) if one in ("rsa3072", "rsa4096") else one for one in TYPES]


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """One server for this file, in memory."""
    with openbao(tmp_path_factory.mktemp("openbao")) as server:
        yield server


@pytest.fixture
def keys(bao: OpenBao) -> VaultKeys:
    """The key source."""
    return VaultKeys(bao.client(bao.approle()), ImmediatePool())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_keys_are_created_and_sign(bao: OpenBao, keys: VaultKeys, algorithm: str) -> None:
    """Each type, with each version; making it again changes nothing."""
    reference = KeyReference(SCHEME, f"transit/made-{algorithm}?version=2")
    keys.generate(reference, algorithm)
    keys.generate(reference, algorithm)
    stored = bao.api("GET", f"transit/keys/made-{algorithm}")["data"]
    assert (stored["latest_version"], stored["exportable"], stored["type"]) == (2, False, TYPES[algorithm])
    for name in (f"made-{algorithm}?version=1", f"made-{algorithm}?version=2"):
        key = keys.load(KeyReference(SCHEME, f"transit/{name}"), None)
        described = describe_private_key(key)
        signature = sign_now(key, b"data")
        verify_signature(described, signature_algorithm(described).der, signature, b"data")
        # The certificate's public key says which version it is.
        again = keys.load(KeyReference(SCHEME, f"transit/made-{algorithm}"), described.spki)
        verify_signature(described, signature_algorithm(described).der, sign_now(again, b"more"), b"more")
    assert keys.check() is None
    assert keys.successor(reference) == KeyReference(SCHEME, f"transit/made-{algorithm}?version=3")


@pytest.mark.parametrize("algorithm", ["prime256v1", "rsa2048"])
def test_signatures_that_meet(keys: VaultKeys, algorithm: str) -> None:
    """Threads that sign at the same time share requests to Vault, and each gets the signature over its data."""
    reference = KeyReference(SCHEME, f"transit/shared-{algorithm}")
    keys.generate(reference, algorithm)
    key = keys.load(reference, None)
    described = describe_private_key(key)
    data = [b"data %d" % number for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        signatures = list(pool.map(functools.partial(sign_now, key), data))
    for signed, signature in zip(data, signatures, strict=True):
        verify_signature(described, signature_algorithm(described).der, signature, signed)


def test_several_signatures_in_one_request(bao: OpenBao, keys: VaultKeys) -> None:
    """Each digest has a signature of its own; a key that is not there is refused for all."""
    keys.generate(KeyReference(SCHEME, "transit/several"), "prime256v1")
    transit, key = Transit(bao.client(bao.approle())), TransitKey("transit", "several")
    (described,) = (describe_spki(spki) for spki in transit.versions(key).values())
    data = [b"one", b"two", b"three"]
    digests = [hashlib.sha256(one).digest() for one in data]
    signatures = transit.sign_many(key, 1, digests, "sha256", is_rsa=False)
    for signed, signature in zip(data, signatures, strict=True):
        assert isinstance(signature, bytes)
        verify_signature(described, signature_algorithm(described).der, signature, signed)
    with pytest.raises(VaultRefused, match="not found"):
        transit.sign_many(TransitKey("transit", "nowhere"), 1, digests, "sha256", is_rsa=False)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_imported_keys_sign(bao: OpenBao, algorithm: str) -> None:
    """A key of a file signs in Vault as before, and a next version of it can be made there."""
    bao.approle()
    transit = Transit(
        bao.client(bao.approle(policy='path "transit/*" { capabilities = ["create", "read", "update"] }'))
    )
    private_key = generate_private_key(algorithm)
    key = TransitKey("transit", f"imported-{algorithm}")
    transit.import_key(key, private_key)
    spki = describe_private_key(private_key).spki
    assert transit.find_version(key, spki) == 1
    keys = VaultKeys(bao.client(bao.approle()), ImmediatePool())
    loaded = keys.load(key.reference(), spki)
    described = describe_private_key(private_key)
    verify_signature(described, signature_algorithm(described).der, sign_now(loaded, b"data"), b"data")
    keys.generate(keys.successor(key.reference()), algorithm)
    assert set(transit.versions(key)) == {1, 2}
    assert not bao.api("GET", key.path)["data"]["exportable"]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("transit/none", "Vault has no transit/keys/none"),
        ("transit/other", "The transit key transit/other is not the key of the certificate"),
        ("transit/ours?version=2", "does not verify with the certificate's key"),
        ("transit/ours?version=9", "requested version for signing is higher than the latest key version"),
        ("transit/aes", "of type aes256-gcm96, which does not sign certificates"),
        ("elsewhere/ours", "Vault denies access to elsewhere/keys/ours"),
    ],
)
def test_wrong_keys_sign_nothing(bao: OpenBao, keys: VaultKeys, reference: str, expected: str) -> None:
    """The key must be the certificate's; ``/readyz`` and the log say what is wrong, and fixing it needs no restart."""
    for name, kind in (("ours", "ecdsa-p256"), ("other", "ecdsa-p256"), ("aes", "aes256-gcm96")):
        bao.api("POST", f"transit/keys/{name}", {"type": kind})
    if bao.api("GET", "transit/keys/ours")["data"]["latest_version"] == 1:
        bao.api("POST", "transit/keys/ours/rotate")
    spki = describe_private_key(keys.load(KeyReference(SCHEME, "transit/ours?version=1"), None)).spki
    key = keys.load(KeyReference(SCHEME, reference), spki)
    for act in (lambda: sign_now(key, b"data"), keys.check):
        with pytest.raises(Exception, match=expected.replace("?", r"\?")):
            act()


@pytest.mark.parametrize(
    "rest", ["ec", "transit/", "transit/a b", "transit/a?version=0", "transit/a?version=x", "../sys/a%2f"]
)
def test_references_of_another_form_are_refused(bao: OpenBao, keys: VaultKeys, rest: str) -> None:
    """They would be paths in Vault."""
    with pytest.raises(ConfigError, match="names no transit key"):
        keys.load(KeyReference(SCHEME, rest), b"")


def test_a_key_of_another_type_is_not_taken(bao: OpenBao, keys: VaultKeys) -> None:
    """Vault would leave it as it is."""
    bao.api("POST", "transit/keys/taken", {"type": "ed25519"})
    with pytest.raises(VaultRefused, match=r"is of type ed25519, not ecdsa-p256\. Use another name"):
        keys.generate(KeyReference(SCHEME, "transit/taken"), "prime256v1")
    with pytest.raises(ConfigError, match="a key of type mldsa65 can't be kept in Vault"):
        keys.generate(KeyReference(SCHEME, "transit/new"), "mldsa65")


def test_large_data_is_hashed_here(bao: OpenBao, keys: VaultKeys) -> None:
    """A CRL of many megabytes costs one small request."""
    bao.api("POST", "transit/keys/large", {"type": "ecdsa-p384"})
    key = keys.load(KeyReference(SCHEME, "transit/large"), None)
    described = describe_private_key(key)
    data = bytes(64 << 20)
    verify_signature(described, signature_algorithm(described).der, sign_now(key, data), data)
