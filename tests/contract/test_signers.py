"""Issuing keys: what every place of keys has to do, in files, in a token and in Vault (HSM-1, VLT-1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from pikachu.ca.ca_requests import ca_request
from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import PikachuError
from pikachu.signers.ca_keys import CAKeys
from pikachu.signers.key import KeySigner, check_key_pair, sign_request
from pikachu.signers.references import KeyFile, KeyReference
from pikachu.signers.vault.source import VaultKeys
from pikachu.signers.vault.transit_keys import SCHEME as VAULT
from pikachu.signers.vault.transit_keys import TransitKey
from pikachu.x509.csr import parse_csr
from pikachu.x509.keys import PrivateKey, describe_private_key
from pikachu.x509.signature import verify_signature
from tests.support.deferreds import result_of
from tests.support.key_source import SCHEME, MemoryKeySource
from tests.support.pki import make_ca
from tests.support.softhsm import PIN, TOKEN, soft_token
from tests.support.vault import PKI_POLICY, OpenBao, openbao

ALGORITHMS = {
    "prime256v1": "EC/prime256v1",
    "secp384r1": "EC/secp384r1",
    "secp521r1": "EC/secp521r1",
    "rsa2048": "RSA/2048",
}


@dataclass
class KeyPlace:
    """Somewhere to keep keys."""

    keys: CAKeys
    file: Callable[[str], KeyFile]

    def create(self, name: str, algorithm: str) -> PrivateKey:
        """A key of that name."""
        return self.keys.create(self.file(name), algorithm, write, print)


def write(path: Path, content: Callable[[], bytes]) -> None:
    """Create a file unless it exists."""
    if not path.exists():
        path.write_bytes(content())
        path.chmod(0o600)


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """OpenBao in memory."""
    with openbao(tmp_path_factory.mktemp("openbao")) as server:
        yield server


INTEROP = pytest.mark.interop


@pytest.fixture(
    params=[
        "file",
        "memory",
        pytest.param("softhsm", marks=INTEROP),
        pytest.param("transit", marks=INTEROP),
        pytest.param("pki", marks=INTEROP),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyPlace]:
    """Each place."""

    def file(name: str, reference: KeyReference | None = None) -> KeyFile:
        return KeyFile(tmp_path / f"{name}.key", "[CA] KEY", None, reference)

    if request.param == "file":
        yield KeyPlace(CAKeys("refuse"), file)
    elif request.param == "memory":
        keys = CAKeys("refuse", {SCHEME: MemoryKeySource()})
        yield KeyPlace(keys, lambda name: file(name, KeyReference(SCHEME, name)))
    elif request.param in ("transit", "pki"):
        vault: OpenBao = request.getfixturevalue("bao")
        shared = {f"transit/{tmp_path.name}-{name}": "pki" for name in ("ec", "other")}
        if "pki/" not in vault.api("GET", "sys/mounts")["data"]:
            vault.api("POST", "sys/mounts/pki", {"type": "pki"})
        client = vault.client(vault.approle(PKI_POLICY))
        source = VaultKeys(client, ImmediatePool(), sharing=shared if request.param == "pki" else None)
        keys = CAKeys("refuse", {VAULT: source})
        yield KeyPlace(keys, lambda name: file(name, TransitKey("transit", f"{tmp_path.name}-{name}").reference()))
    else:
        token = soft_token(tmp_path / "token", monkeypatch)
        from pikachu.signers.pkcs11.source import TokenKeys
        from pikachu.signers.pkcs11.uri import token_key

        keys = CAKeys("refuse", {"pkcs11": TokenKeys(token.module, TOKEN, lambda: PIN, ImmediatePool())})
        yield KeyPlace(keys, lambda name: file(name, token_key(TOKEN, name)))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_created_and_loaded(place: KeyPlace, algorithm: str) -> None:
    """A key is of the type that was asked for, signs what its public half verifies, and is made once."""
    key = place.create("ec", algorithm)
    described = describe_private_key(key)
    assert described.text == ALGORITHMS[algorithm]
    check_key_pair(key)
    again = place.create("ec", algorithm)
    assert describe_private_key(again).spki == described.spki
    loaded = place.keys.load(place.file("ec"), print, described.spki)
    check_key_pair(loaded)
    assert describe_private_key(place.create("other", algorithm)).spki != described.spki


@pytest.mark.parametrize("algorithm", ["prime256v1", "rsa2048"])
def test_certificates_crls_and_requests(place: KeyPlace, algorithm: str) -> None:
    """Whatever is signed verifies: bytes by the signer, a request with each digest, large data."""
    key = place.create("ec", algorithm)
    described = describe_private_key(key)
    ca = make_ca("p256" if algorithm == "prime256v1" else "rsa2048")
    signer = KeySigner(key, ca.der, (ca.der,), ImmediatePool())
    for data in (b"", b"x" * 100_000):
        verify_signature(described, signer.algorithm, result_of(signer.sign(data)), data)
    for digest in ("sha256", "sha384", "sha512"):
        parse_csr(sign_request(key, _info(key), digest))
    parse_csr(ca_request(key, ca.subject_der))


def _info(key: PrivateKey) -> bytes:
    from pikachu.x509 import der

    subject = make_ca("p256").subject_der
    return der.sequence(der.integer(0), subject, describe_private_key(key).spki, der.explicit(0, b""))


def test_threads(place: KeyPlace) -> None:
    """Several threads sign at the same time."""
    key = place.create("ec", "prime256v1")

    def work(_: int) -> None:
        check_key_pair(key)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(200)))


def test_successors(place: KeyPlace) -> None:
    """The next key is in the same place, under a name that none has."""
    place.create("ec", "prime256v1")
    names = {str(place.keys.successor(place.file("ec"))) for _ in range(2)}
    if names == {"None"}:
        return
    assert str(place.file("ec").find_reference()) not in names


def test_nothing_leaves(place: KeyPlace) -> None:
    """A key that is not in a file can't be read."""
    key: Any = place.create("ec", "prime256v1")
    if place.file("ec").find_reference() is None:
        return
    with pytest.raises(PikachuError, match="can't be read"):
        key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
