"""A key source in memory: keys that are elsewhere, where a test can take them away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives import hashes

from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import PikachuError, SignerUnavailable
from pikachu.core.interfaces import IWorkerPool
from pikachu.signers.key import sign_now
from pikachu.signers.references import KeyReference
from pikachu.signers.remote_keys import remote_key
from pikachu.x509.keys import PrivateKey, describe_private_key, generate_private_key

SCHEME: Final = "memory"


@dataclass
class MemoryKeySource:
    """Keeps keys by the rest of their references.

    :ivar failure: raised by whatever asks for a key.
    :ivar signatures: how many were made.
    """

    keys: dict[str, PrivateKey] = field(default_factory=dict)
    failure: PikachuError | None = None
    pool: IWorkerPool = field(default_factory=ImmediatePool)
    signatures: int = 0

    def load(self, reference: KeyReference, spki: bytes | None) -> PrivateKey:
        """Return a key that signs here."""

        def sign(data: bytes, digest: hashes.HashAlgorithm) -> bytes:
            key = self._find(reference)
            if describe_private_key(key).spki != public:
                raise SignerUnavailable(f"{reference} is another key than the certificate's")
            self.signatures += 1
            return sign_now(key, data, digest)

        public = describe_private_key(self._find(reference)).spki if spki is None else spki
        return remote_key(public, sign, self.pool)

    def generate(self, reference: KeyReference, algorithm: str) -> None:
        """Create the key."""
        self._ask()
        if reference.rest not in self.keys:
            self.keys[reference.rest] = generate_private_key(algorithm)

    def successor(self, reference: KeyReference) -> KeyReference:
        """Count."""
        name, _, number = reference.rest.partition("-")
        return KeyReference(SCHEME, f"{name}-{int(number or 1) + 1}")

    def check(self) -> str | None:
        """Fail as signatures do."""
        self._ask()
        return None

    def _ask(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _find(self, reference: KeyReference) -> PrivateKey:
        self._ask()
        if reference.rest not in self.keys:
            raise SignerUnavailable(f"there is no key {reference}")
        return self.keys[reference.rest]
