"""One server for each file of tests, and the process that watches it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.hostile.target import Target
from tests.support.server import running_server
from tests.support.stall_watch import StallWatch

PASSWORD = "a password of the admin 0815"


@pytest.fixture(scope="module")
def hostile_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server with an EC and an RSA issuing CA, an administrator, and some certificates."""
    folder = tmp_path_factory.mktemp("hostile")
    changes = {("CA", "public_url"): "http://ca.example.com"}
    with (
        running_server(folder, ("p256", "rsa2048"), changes=changes) as server,
        StallWatch(server.ports["http"]) as watch,
    ):
        password = folder / "password"
        password.write_text(PASSWORD + "\n", encoding="ascii")
        server.run(
            "user", "add", "root", "--email", "root@example.com", "--role", "admin", "--password-file", str(password)
        )
        token = server.run("token", "create", "--user", "root", "--name", "hostile").strip()
        target = Target(server, watch, token, "root", PASSWORD)
        target.prepare()
        yield target
        log = server.log
        assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:3000]


@pytest.fixture
def target(hostile_server: Target, record_property: Callable[[str, object], None]) -> Target:
    """The same server for each test, which records what it measured."""
    hostile_server.record = record_property
    return hostile_server
