"""Fixtures of the tests of the web."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rest import REST, make_rest
from tests.support.stack import Stack, build_core
from tests.support.visitor import Pages, Visitor, make_pages


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


@pytest.fixture
def pages(stack: Stack) -> Pages:
    """The pages over it, with an admin and two users."""
    return make_pages(stack)


@pytest.fixture
def alice(pages: Pages) -> Visitor:
    """A user's browser."""
    return pages.visitor("alice")


@pytest.fixture
def root(pages: Pages) -> Visitor:
    """An admin's browser."""
    return pages.visitor("root")
