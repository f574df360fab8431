"""Keys of the transit secrets engine: names, versions, creation, signatures, and the import of a key in a file."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from pikachu.core.errors import ConfigError, PikachuError, UnsupportedAlgorithm
from pikachu.core.number_parsing import parse_number
from pikachu.signers.references import KeyReference
from pikachu.signers.vault.client import VaultClient, data_of
from pikachu.signers.vault.faults import VaultFault, VaultRefused, VaultUnreachable
from pikachu.x509.keys import PrivateKey, describe_private_key, private_key_info
from pikachu.x509.pem_blocks import blocks
from pikachu.x509.spki import describe_spki

SCHEME: Final = "vault"
#: Transit's types by the names of keys in this program.
TYPES: Final = {
    "prime256v1": "ecdsa-p256",
    "secp384r1": "ecdsa-p384",
    "secp521r1": "ecdsa-p521",
    "rsa2048": "rsa-2048",
    "rsa3072": "rsa-3072",
    "rsa4096": "rsa-4096",
}
_HASHES: Final = {"sha256": "sha2-256", "sha384": "sha2-384", "sha512": "sha2-512"}
# An RSA-4096 key takes a busy Vault half a minute.
_GENERATION_SECONDS: Final = 60.0
_MAX_VERSION: Final = 1_000_000
# Characters of a reason that Vault gives.
_MAX_REASON: Final = 200
# Names that need no quoting in a URL.
_REST: Final = re.compile(r"((?:[\w.-]+/)+)([\w.-]+)(?:\?version=([0-9]+))?", re.ASCII)
_SIGNATURE: Final = re.compile(r"vault:v([0-9]+):([A-Za-z0-9+/=]+)")


@dataclass(frozen=True, slots=True)
class TransitKey:
    """The name of a transit key.

    :param mount: the path of the engine, without slashes at its ends.
    :param version: ``None`` for the version whose public key is the certificate's.
    """

    mount: str
    name: str
    version: int | None = None

    @classmethod
    def parse(cls, reference: KeyReference) -> TransitKey:
        """Return the key that ``vault:MOUNT/NAME?version=N`` names.

        :raises ConfigError: when the reference has another form.
        """
        match = _REST.fullmatch(reference.rest)
        version = None if match is None or match[3] is None else parse_number(match[3], _MAX_VERSION, minimum=1)
        if match is None or (match[3] is not None and version is None):
            raise ConfigError(
                f"{reference} names no transit key; write vault:MOUNT/NAME or vault:MOUNT/NAME?version=N, with "
                "letters, digits, dots, hyphens and underscores"
            )
        return cls(match[1].rstrip("/"), match[2], version)

    @classmethod
    def of(cls, mount: str, name: str) -> TransitKey:
        """Return the key that settings name.

        :raises ConfigError: when a name has another form.
        """
        return cls.parse(cls(mount.strip("/"), name).reference())

    def reference(self) -> KeyReference:
        """Return the reference to this key."""
        version = "" if self.version is None else f"?version={self.version}"
        return KeyReference(SCHEME, f"{self.mount}/{self.name}{version}")

    @property
    def path(self) -> str:
        """The path of the key in Vault."""
        return f"{self.mount}/keys/{self.name}"

    def __str__(self) -> str:
        """Return the name, for messages."""
        return (
            f"{self.mount}/{self.name}" if self.version is None else f"{self.mount}/{self.name} version {self.version}"
        )


class Transit:
    """The operations on transit keys; each blocks, and raises VaultFault."""

    def __init__(self, client: VaultClient) -> None:
        self._client = client

    def versions(self, key: TransitKey) -> dict[int, bytes]:
        """Return the DER SubjectPublicKeyInfo of each version.

        :raises VaultRefused: when there is no such key, or it signs nothing.
        """
        return _versions(key, data_of(self._client.read(key.path)))

    def exists(self, key: TransitKey) -> bool:
        """Return whether there is a key of that name, of any version."""
        try:
            self._client.read(key.path)
        except VaultRefused as fault:
            if fault.status != 404:
                raise
            return False
        return True

    def find_version(self, key: TransitKey, spki: bytes) -> int:
        """Return the version with that public key.

        :raises VaultRefused: when none has it.
        """
        for version, public_key in self.versions(key).items():
            if public_key == spki and key.version in (None, version):
                return version
        raise VaultRefused(
            f"The transit key {key} is not the key of the certificate. Check [VAULT] and the references."
        )

    def create(self, key: TransitKey, algorithm: str) -> None:
        """Create the key, which can't be exported, and its versions up to the one that is named.

        :param algorithm: one of :data:`TYPES`.
        :raises ConfigError: for another algorithm.
        :raises VaultRefused: when there is a key of that name and of another type.
        """
        kind = TYPES.get(algorithm)
        if kind is None:
            raise ConfigError(f"a key of type {algorithm} can't be kept in Vault; use one of {', '.join(TYPES)}")
        if not self.exists(key):
            # Vault leaves a key alone that exists by now.
            self._client.write(key.path, {"type": kind, "exportable": False}, patience=_GENERATION_SECONDS)
        present = data_of(self._client.read(key.path))
        if present.get("type") != kind:
            raise VaultRefused(f"The transit key {key} is of type {present.get('type')}, not {kind}. Use another name.")
        latest = max(_versions(key, present))
        for _ in range(latest, key.version or 1):
            self._client.write(f"{key.path}/rotate", {}, repeatable=False, patience=_GENERATION_SECONDS)

    def sign(self, key: TransitKey, version: int, digest: bytes, hash_name: str, *, is_rsa: bool) -> bytes:
        """Return the signature over a digest: PKCS#1 v1.5, or the DER of ECDSA's r and s.

        :param hash_name: such as ``sha256``.
        :raises UnsupportedAlgorithm: for another digest.
        """
        path, body = _signing(key, version, hash_name, is_rsa=is_rsa)
        data = data_of(self._client.write(path, {**body, "input": base64.b64encode(digest).decode("ascii")}))
        return _signature(data.get("signature"), version, path)

    def sign_many(
        self, key: TransitKey, version: int, digests: Sequence[bytes], hash_name: str, *, is_rsa: bool
    ) -> list[bytes | VaultFault]:
        """Return the signature over each digest, or its refusal, as :meth:`sign` does; one request for all."""
        if len(digests) == 1:
            return [self.sign(key, version, digests[0], hash_name, is_rsa=is_rsa)]
        path, body = _signing(key, version, hash_name, is_rsa=is_rsa)
        items = [{"input": base64.b64encode(digest).decode("ascii")} for digest in digests]
        results = data_of(self._client.write(path, {**body, "batch_input": items})).get("batch_results")
        if not isinstance(results, list) or len(results) != len(digests):
            raise VaultUnreachable("The answer is not Vault's. Check [VAULT] address.", path=path)
        return [_batch_result(result, version, path) for result in results]

    def import_key(self, key: TransitKey, private_key: PrivateKey) -> None:
        """Put a private key of this machine into Vault, wrapped for it; it can't be exported from there.

        https://openbao.org/api-docs/secret/transit/#import-key

        :raises ConfigError: when transit does not sign with such keys.
        """
        described = describe_private_key(private_key)
        family, _, detail = described.text.partition("/")
        kind = TYPES.get(f"rsa{detail}" if family == "RSA" else detail)
        if kind is None:
            raise ConfigError(f"a key of type {described.text} can't be kept in Vault; use one of {', '.join(TYPES)}")
        body = {**self._wrap(key, private_key), "type": kind, "exportable": False, "allow_rotation": True}
        self._client.write(f"{key.path}/import", body, repeatable=False)

    def import_version(self, key: TransitKey, private_key: PrivateKey) -> None:
        """Put a private key of this machine into Vault as the next version of a key of the same type.

        :raises VaultRefused: when a version of the key was made in Vault.
        """
        if not data_of(self._client.read(key.path)).get("imported_key"):
            raise VaultRefused(
                f"The transit key {key.mount}/{key.name} has a version that was created in Vault, so it takes no key "
                "from here. Set [VAULT] signer = transit, and rotate."
            )
        self._client.write(f"{key.path}/import_version", self._wrap(key, private_key), repeatable=False)

    def _wrap(self, key: TransitKey, private_key: PrivateKey) -> dict[str, object]:
        """Return the fields of an import: the key, encrypted for Vault."""
        wrapping = data_of(self._client.read(f"{key.mount}/wrapping_key")).get("public_key")
        public_key = describe_spki(_spki(wrapping)).public_key
        if not isinstance(public_key, rsa.RSAPublicKey):
            raise VaultRefused("Vault's wrapping key is not RSA. Use OpenBao 2, or Vault 1.11 or later.")
        ephemeral = os.urandom(32)
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        wrapped = public_key.encrypt(ephemeral, oaep)
        wrapped += keywrap.aes_key_wrap_with_padding(ephemeral, private_key_info(private_key))
        return {"ciphertext": base64.b64encode(wrapped).decode("ascii"), "hash_function": "SHA256"}


def _signing(key: TransitKey, version: int, hash_name: str, *, is_rsa: bool) -> tuple[str, dict[str, object]]:
    """Return the path of signatures, and the fields of a request but for the digests.

    :raises UnsupportedAlgorithm: for another digest.
    """
    if hash_name not in _HASHES:
        raise UnsupportedAlgorithm(f"keys in Vault make no signatures with {hash_name}")
    form = {"signature_algorithm": "pkcs1v15"} if is_rsa else {"marshaling_algorithm": "asn1"}
    return f"{key.mount}/sign/{key.name}/{_HASHES[hash_name]}", {"prehashed": True, "key_version": version, **form}


def _signature(text: object, version: int, path: str) -> bytes:
    """Return the signature in an answer.

    :raises VaultUnreachable: when there is none of that version.
    """
    match = _SIGNATURE.fullmatch(str(text))
    if match is None or int(match[1]) != version:
        raise VaultUnreachable("The answer is not Vault's. Check [VAULT] address.", path=path)
    try:
        return base64.b64decode(match[2], validate=True)
    except binascii.Error:
        raise VaultUnreachable("The answer is not Vault's. Check [VAULT] address.", path=path) from None


def _batch_result(result: object, version: int, path: str) -> bytes | VaultFault:
    """Return the signature in one result of several, or why there is none."""
    fields = result if isinstance(result, dict) else {}
    if fields.get("error"):
        return VaultRefused(f"Vault refuses {path}: {str(fields['error'])[:_MAX_REASON]}")
    try:
        return _signature(fields.get("signature"), version, path)
    except VaultUnreachable as fault:
        return fault


def _versions(key: TransitKey, data: dict[str, Any]) -> dict[int, bytes]:
    keys = data.get("keys")
    if not isinstance(keys, dict) or not keys:
        raise VaultUnreachable("The answer is not Vault's. Check [VAULT] address.", path=key.path)
    versions = {}
    for number, one in keys.items():
        version = parse_number(str(number), _MAX_VERSION, minimum=1)
        if version is None or not isinstance(one, dict) or "public_key" not in one:
            raise VaultRefused(
                f"The transit key {key} is of type {data.get('type')}, which does not sign certificates. Use another "
                f"name, or one of the types {', '.join(TYPES.values())}."
            )
        versions[version] = _spki(one["public_key"])
    return versions


def _spki(text: object) -> bytes:
    """Return the DER SubjectPublicKeyInfo in a PEM text of Vault.

    :raises VaultUnreachable: when there is none.
    """
    try:
        return blocks(str(text).encode("utf-8"), ["PUBLIC KEY"])[0].der()
    except (PikachuError, IndexError):
        raise VaultUnreachable("The answer is not Vault's. Check [VAULT] address.") from None
