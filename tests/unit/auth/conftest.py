"""A fresh world for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.deferreds import result_of
from tests.support.people import World, make_world


@pytest.fixture
def world() -> Iterator[World]:
    """Closed afterwards."""
    made = make_world()
    yield made
    result_of(made.store.close())
