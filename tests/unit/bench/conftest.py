"""The certificate of the servers that the loads are tried on."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from bench.messages import new_p256_key, self_made_ca


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and its key, for both sides."""
    key = new_p256_key()
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = tmp_path_factory.mktemp("burst") / "identity.pem"
    path.touch(mode=0o600)
    private = key.private_bytes(encoding, form, serialization.NoEncryption())
    path.write_bytes(self_made_ca(key, "localhost").public_bytes(encoding) + private)
    return path
