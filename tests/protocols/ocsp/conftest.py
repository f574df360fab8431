"""A stack with three issuing CAs and its responder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.protocols.ocsp.server import OCSPServer
from tests.support.stack import build_core


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OCSPServer]:
    """A responder of an EC and an RSA CA."""
    made = OCSPServer(build_core(tmp_path / "ca", key_types=("p256", "rsa2048")))
    yield made
    made.stack.close()
