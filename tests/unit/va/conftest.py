"""A stack with a publisher."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deferreds import result_of
from tests.support.stack import Stack, build_core


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """An EC CA below a root whose key is here; both have published their first CRL."""
    made = build_core(tmp_path / "ca")
    result_of(made.app.publisher.begin())
    yield made
    made.close()
