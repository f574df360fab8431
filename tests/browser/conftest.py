"""One Chromium for all tests of a process, and one server for each module, with alice, bob and the admin root."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from pikachu.core.model.people import SYSTEM, AccountState, Role
from tests.support.browser import chromium
from tests.support.deferreds import result_of
from tests.support.server import Server, running_server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server"), ("p256", "rsa2048")) as running:
        with running.application() as app:
            for name, role in (("alice", Role.USER), ("bob", Role.USER), ("root", Role.ADMIN)):
                adding = app.accounts.add_user(
                    SYSTEM, name, f"{name}@example.com", role, AccountState.ACTIVE, f"password of {name}"
                )
                result_of(adding)
        yield running
