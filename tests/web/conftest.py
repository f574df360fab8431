"""What tests of the web share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rest import REST, make_rest
from tests.support.stack import Stack, build_core


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A whole core with an EC issuing CA."""
    made = build_core(tmp_path)
    yield made
    made.close()


@pytest.fixture
def rest(stack: Stack) -> REST:
    """REST over it, with an admin and two users."""
    return make_rest(stack)
