"""An authenticator in memory, as a browser and a device answer for it (WebAuthn Level 3, sections 5 and 6)."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

UP, UV, AT = 1, 4, 64


def encode(data: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data).decode().rstrip("=")


def decode(text: str) -> bytes:
    """Base64url without padding."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _item(major: int, length: int) -> bytes:
    """The head of a CBOR item (RFC 8949 section 3)."""
    if length < 24:
        return bytes([major << 5 | length])
    return bytes([major << 5 | 24, length]) if length < 256 else bytes([major << 5 | 25]) + length.to_bytes(2, "big")


def _text(text: str) -> bytes:
    return _item(3, len(text)) + text.encode()


def _octets(data: bytes) -> bytes:
    return _item(2, len(data)) + data


@dataclass
class Authenticator:
    """One device with one P-256 key.

    :ivar origin: of the pages that the browser shows.
    :ivar count: the counter of the last signature; None: it has no counter.
    :ivar flags: user present and verified.
    """

    origin: str
    count: int | None = 0
    flags: int = UP | UV
    credential_id: bytes = field(default_factory=lambda: token_bytes(16))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    user_handle: bytes = b""

    def create(self, options: dict[str, Any], **changes: Any) -> str:
        """Answer options for a new passkey, as JSON.

        :param changes: of the client data; or ``host``, ``cose`` (the public key) and ``mangle``, which changes the
            attestation object.
        """
        numbers = self.key.public_key().public_numbers()
        x, y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
        cose = b"\xa5\x01\x02\x03\x26\x20\x01\x21" + _octets(x) + b"\x22" + _octets(y)
        cose, mangle = changes.pop("cose", cose), changes.pop("mangle", bytes)
        attested = bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + cose
        data = self._data(changes.pop("host", options["rp"]["id"]), AT) + attested
        attestation = b"\xa3" + _text("fmt") + _text("none") + _text("attStmt") + b"\xa0"
        attestation += _text("authData") + _octets(data)
        self.user_handle = decode(options["user"]["id"])
        client = self._client("webauthn.create", options, changes)
        return self._answer({"clientDataJSON": encode(client), "attestationObject": encode(mangle(attestation))})

    def get(self, options: dict[str, Any], **changes: Any) -> str:
        """Answer options for signing in, as JSON."""
        if self.count is not None:
            self.count += 1
        data = changes.pop("mangle", bytes)(self._data(changes.pop("host", options["rpId"]), 0))
        client = self._client("webauthn.get", options, changes)
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(SHA256()))
        return self._answer(
            {
                "clientDataJSON": encode(client),
                "authenticatorData": encode(data),
                "signature": encode(signature),
                "userHandle": encode(self.user_handle),
            }
        )

    def _data(self, host: str, more: int) -> bytes:
        return (
            hashlib.sha256(host.encode()).digest() + bytes([self.flags | more]) + (self.count or 0).to_bytes(4, "big")
        )

    def _client(self, kind: str, options: dict[str, Any], changes: dict[str, Any]) -> bytes:
        content = {"type": kind, "challenge": options["challenge"], "origin": self.origin, **changes}
        return json.dumps(content).encode()

    def _answer(self, response: dict[str, str]) -> str:
        own = encode(self.credential_id)
        return json.dumps({"id": own, "rawId": own, "type": "public-key", "response": response})
