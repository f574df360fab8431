"""Transit keys as the private keys of CAs; while Vault is unreachable, key files may sign in their place (VLT-2)."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Final

from cryptography.hazmat.primitives import hashes

from pikachu.core.combining import CombinedCalls
from pikachu.core.errors import PikachuError, SignerUnavailable
from pikachu.core.interfaces import IWorkerPool
from pikachu.signers.key import sign_now
from pikachu.signers.references import KeyReference
from pikachu.signers.remote_keys import remote_key
from pikachu.signers.vault.availability import Availability
from pikachu.signers.vault.client import VaultClient
from pikachu.signers.vault.faults import VaultFault, VaultRefused, VaultUnreachable
from pikachu.signers.vault.pki_mount import PKIMount
from pikachu.signers.vault.shared_keys import create_shared
from pikachu.signers.vault.transit_keys import Transit, TransitKey
from pikachu.x509.keys import KeyFamily, PrivateKey, describe_spki
from pikachu.x509.signature import request_algorithm, verify_signature

# Requests to Vault that are under way for one key; signatures that are wanted meanwhile share the next one.  Vault
# makes the signatures of one request one after the other, and those of RSA take milliseconds.
_REQUESTS: Final = {KeyFamily.EC: 1, KeyFamily.RSA: 64}
_MAX_SIGNATURES: Final = 64
_PROBE: Final = b"Pikachu CA makes sure that this key signs"


class _Signer:
    """Signs with one transit key, whose public half is known.

    :param substitute: the same key in a file, which signs while Vault is unreachable.
    """

    def __init__(
        self,
        transit: Transit,
        availability: Availability,
        key: TransitKey,
        spki: bytes,
        substitute: PrivateKey | None,
    ) -> None:
        self._transit = transit
        self._availability = availability
        self._key = key
        self._public_key = describe_spki(spki)
        self._version = key.version
        self._substitute = substitute
        at_once = _REQUESTS.get(self._public_key.family, 1)
        self._signatures = CombinedCalls(self._sign_many, at_once=at_once, most=_MAX_SIGNATURES)

    @property
    def has_substitute(self) -> bool:
        """Whether a key file can sign."""
        return self._substitute is not None

    def sign(self, data: bytes, digest: hashes.HashAlgorithm) -> bytes:
        """Return a signature that verifies with the public half.

        :raises VaultFault: when there is none now.
        """
        try:
            return self._sign(data, digest)
        except VaultUnreachable:
            if self._substitute is None or self._availability.is_reachable:
                raise
            return sign_now(self._substitute, data, digest)

    def prove(self) -> None:
        """Make a signature in Vault.

        :raises VaultFault: when there is none now.
        """
        self._sign(_PROBE, hashes.SHA256())

    def _sign(self, data: bytes, digest: hashes.HashAlgorithm) -> bytes:
        try:
            if self._version is None:
                self._version = self._transit.find_version(self._key, self._public_key.spki)
            hashing = hashes.Hash(digest)
            hashing.update(data)
            signature = self._signatures.call((self._version, digest.name, hashing.finalize()))
            self._verify(signature, data, digest)
        except VaultRefused:
            # The key may have been put back under another version.
            self._version = self._key.version
            raise
        return signature

    def _sign_many(self, wanted: Sequence[tuple[int, str, bytes]]) -> list[bytes | Exception]:
        """Return the signature over each digest, or its fault; *wanted* are versions, hash names and digests."""
        is_rsa = self._public_key.family is KeyFamily.RSA
        version, hash_name, _ = wanted[0]
        alike = [one[2] for one in wanted if one[:2] == (version, hash_name)]
        made = iter(self._transit.sign_many(self._key, version, alike, hash_name, is_rsa=is_rsa))
        return [
            next(made) if one[:2] == (version, hash_name) else self._sign_one(*one, is_rsa=is_rsa) for one in wanted
        ]

    def _sign_one(self, version: int, hash_name: str, digest: bytes, *, is_rsa: bool) -> bytes | Exception:
        try:
            return self._transit.sign(self._key, version, digest, hash_name, is_rsa=is_rsa)
        except PikachuError as error:
            return error

    def _verify(self, signature: bytes, data: bytes, digest: hashes.HashAlgorithm) -> None:
        algorithm = request_algorithm(self._public_key, digest.name)
        try:
            verify_signature(self._public_key, algorithm.der, signature, data)
        except PikachuError:
            raise VaultRefused(
                f"The signature of the transit key {self._key} does not verify with the certificate's key. Check the "
                "names in [VAULT] and the version in the reference."
            ) from None


class VaultKeys:
    """The key source of ``vault:`` references; see :class:`pikachu.signers.ca_keys.KeySource`.

    :param pool: the threads in which Vault is called.
    :param uses_key_files: whether the same keys in files sign while Vault is unreachable.
    :param sharing: the mounts of the PKI engine that have the same keys, by ``MOUNT/NAME`` of the transit keys.
    """

    def __init__(
        self,
        client: VaultClient,
        pool: IWorkerPool,
        *,
        uses_key_files: bool = False,
        sharing: Mapping[str, str] | None = None,
    ) -> None:
        self._client = client
        self._transit = Transit(client)
        self._pool = pool
        self._uses_key_files = uses_key_files
        self._sharing = dict(sharing or {})
        self._signers: weakref.WeakSet[_Signer] = weakref.WeakSet()

    @property
    def pool(self) -> IWorkerPool:
        """The threads in which Vault is called."""
        return self._pool

    @property
    def client(self) -> VaultClient:
        """The client of Vault, for its other engines."""
        return self._client

    @property
    def uses_key_files(self) -> bool:
        """Whether the same keys in files sign while Vault is unreachable."""
        return self._uses_key_files

    @property
    def availability(self) -> Availability:
        """Whether Vault is reachable."""
        return self._client.availability

    def load(self, reference: KeyReference, spki: bytes | None) -> PrivateKey:
        """Return the key."""
        return self._load(reference, spki, None)

    def load_with_file(self, reference: KeyReference, spki: bytes, private_key: PrivateKey) -> PrivateKey:
        """Return the key, for which the same key of a file signs while Vault is unreachable."""
        return self._load(reference, spki, private_key)

    def _load(self, reference: KeyReference, spki: bytes | None, substitute: PrivateKey | None) -> PrivateKey:
        key = TransitKey.parse(reference)
        if spki is None:
            versions = self._transit.versions(key)
            version = key.version or max(versions)
            if version not in versions:
                raise VaultRefused(f"The transit key {key} has no such version. Check the reference.")
            spki = versions[version]
        signer = _Signer(self._transit, self.availability, key, spki, substitute)
        self._signers.add(signer)
        return remote_key(spki, signer.sign, self._pool)

    def generate(self, reference: KeyReference, algorithm: str) -> None:
        """Create the key, and its versions up to the one that is named."""
        key = TransitKey.parse(reference)
        mount = self._sharing.get(f"{key.mount}/{key.name}")
        if mount is None:
            self._transit.create(key, algorithm)
        else:
            create_shared(self._transit, PKIMount(self._client, mount), key, algorithm)

    def successor(self, reference: KeyReference) -> KeyReference:
        """Return the next version of the key."""
        key = TransitKey.parse(reference)
        latest = max(*self._transit.versions(key), key.version or 0)
        return TransitKey(key.mount, key.name, latest + 1).reference()

    def check(self) -> str | None:
        """Sign with every loaded key; return a message when key files sign.

        :raises SignerUnavailable: with the reason.
        """
        signers = list(self._signers)
        try:
            if not signers:
                self._client.probe()
            for signer in signers:
                signer.prove()
        except VaultFault as fault:
            if not self.availability.is_reachable and self.has_substitutes:
                return f"{fault.reason} The key files sign until Vault is back."
            raise SignerUnavailable(fault.reason) from None
        return None

    def prove(self, reference: KeyReference, spki: bytes) -> None:
        """Make a signature with a key, and verify it.

        :raises VaultFault: when that fails.
        """
        _Signer(self._transit, self.availability, TransitKey.parse(reference), spki, None).prove()

    @property
    def has_substitutes(self) -> bool:
        """Whether key files can sign for every key."""
        signers = list(self._signers)
        return bool(signers) and all(signer.has_substitute for signer in signers)

    def tend(self) -> None:
        """Probe a Vault that is unreachable, and keep the token; called every few seconds.

        :raises VaultFault: when that fails.
        """
        if not self.availability.is_reachable:
            self._client.probe()
        else:
            self._client.keep_token()

    def close(self) -> None:
        """Close the idle connections; later calls open new ones."""
        self._client.close()
