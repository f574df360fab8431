"""The databases that every store test runs against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.databases import Opened, opened, postgresql_server


@pytest.fixture(scope="session")
def new_postgresql() -> Iterator[Callable[[], str]]:
    """Makes a PostgreSQL database of this version."""
    with postgresql_server() as make:
        yield make


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new database, of each kind that processes can share."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'pikachu.db'}"
    make: Callable[[], str] = request.getfixturevalue("new_postgresql")
    return make()


@pytest.fixture(params=["memory", "file", "threads", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """An open store, of each kind.  Those in files don't wait for the disk: no test of this fixture cuts the power."""
    if request.param == "postgresql":
        make: Callable[[], str] = request.getfixturevalue("new_postgresql")
        url = make()
    else:
        url = "sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path / 'pikachu.db'}"
    with opened(url, threads=request.param == "threads", fsync=False) as store:
        yield store
