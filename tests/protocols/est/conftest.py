"""Servers for tests of EST."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.est import EST, est_server


@pytest.fixture
def est(tmp_path: Path) -> Iterator[EST]:
    """A server whose CA has a P-256 key, with the account ``alice``."""
    with est_server(tmp_path / "server") as server:
        server.account("alice")
        yield server
