"""Signs checkpoints of the transparency log with its Ed25519 key (TLG-1)."""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from pikachu.core.log_interfaces import TreeHead
from pikachu.signers.key import sign_now
from pikachu.transparency.checkpoints import VerifierKey, checkpoint_text, signed_note
from pikachu.x509.loading.private_keys import load_unencrypted_key

_ORIGIN: Final = "pikachu-ca"
_NAMING_BYTES: Final = 8


def new_checkpoint_key() -> bytes:
    """Return a new private key, as DER."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


class CheckpointSigner:
    """The key of a log.  The log's origin is named by the key, so that no two logs have the same one.

    :param key: the private key, as DER.
    :ivar verifier: the public key.
    """

    def __init__(self, key: bytes) -> None:
        self._key = load_unencrypted_key(key)
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        origin = f"{_ORIGIN}/{hashlib.sha256(public).digest()[:_NAMING_BYTES].hex()}"
        self.verifier = VerifierKey(origin, public)

    def note(self, head: TreeHead) -> str:
        """Return the signed checkpoint of a tree head; takes microseconds."""
        text = checkpoint_text(self.verifier.name, head.size, head.root)
        return signed_note(text, self.verifier, sign_now(self._key, text.encode()))
