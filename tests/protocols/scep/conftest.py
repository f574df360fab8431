"""Servers for tests of SCEP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scep import SCEP, scep_server_in


@pytest.fixture
def scep(tmp_path: Path) -> Iterator[SCEP]:
    """A server whose CA has an RSA key in a file, so that it acts itself."""
    with scep_server_in(tmp_path / "server") as server:
        yield server


@pytest.fixture
def ra(tmp_path: Path) -> Iterator[SCEP]:
    """A server whose CA has a P-256 key, so that an RA certificate stands before it."""
    with scep_server_in(tmp_path / "server", ("p256",)) as server:
        yield server
