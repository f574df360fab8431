"""The configuration in force and the log are for admins (CFG-11, UI-9)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pikachu.core.errors import AuthenticationFailed, MalformedRequest, NotAuthorized, NotFound
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import ANONYMOUS, Principal, PrincipalKind, Role, Scope
from pikachu.operations.log_reader import LogFilter
from pikachu.operations.server_view import MAXIMUM_LINES, ServerView
from tests.support.deferreds import failure_of, result_of
from tests.support.stack import Stack, build_core

ADMIN = Principal(PrincipalKind.ACCOUNT, "root", 1, Role.ADMIN, frozenset(Scope))
USER = Principal(PrincipalKind.ACCOUNT, "alice", 2, Role.USER, frozenset(Scope))
WEAK = Principal(PrincipalKind.ACCOUNT, "root", 1, Role.ADMIN, frozenset({Scope.READ}))
AUDITOR = Principal(PrincipalKind.ACCOUNT, "audrey", 3, Role.AUDITOR, frozenset({Scope.READ, Scope.AUDIT}))
SECRET = "0f6c1d2e9a8b74650f6c1d2e9a8b7465"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """With a log file, and a secret in the file itself."""
    made = build_core(
        tmp_path,
        changes={
            ("LOGGING", "log_file"): "pikachu.log",
            ("LDAP", "ADMIN_PASSWORD"): SECRET,
        },
    )
    (tmp_path / "pikachu.log").write_text("one\ntwo\nthree\n", encoding="ascii")
    yield made
    made.close()


def test_settings(stack: Stack) -> None:
    """Each with its value, its origin and its default; no secret is among them."""
    found = {(one.setting.section, one.setting.key): one for one in stack.app.operation.settings(ADMIN)}
    assert found["LOGGING", "log_file"].setting.origin == "file"
    assert found["LOGGING", "log_file"].setting.value == str(stack.files.folder / "pikachu.log")
    assert found["HTTPS", "port"].setting.value == "443"
    assert found["HTTPS", "port"].setting.origin == "default"
    assert found["HTTPS", "port"].default == "443"
    assert found["HTTPS", "port"].comment
    assert found["LDAP", "ADMIN_PASSWORD"].setting.value == "********"
    assert SECRET not in str(found)
    assert stack.app.operation.file(ADMIN) == str(stack.files.config)


def test_log(stack: Stack) -> None:
    """The last lines, and those with a keyword."""
    operation = stack.app.operation
    lines = result_of(operation.log(ADMIN, 2))
    assert [one.text for one in lines] == ["two", "three"]
    assert [one.text for one in result_of(operation.log(ADMIN, 9, LogFilter("ONE")))] == ["one"]
    for count, wanted in (
        (0, LogFilter()),
        (MAXIMUM_LINES + 1, LogFilter()),
        (1, LogFilter("x" * 201)),
        (1, LogFilter(level="LOUD")),
    ):
        failure_of(operation.log(ADMIN, count, wanted), MalformedRequest)
    (stack.files.folder / "pikachu.log").unlink()
    assert "can't be read" in failure_of(operation.log(ADMIN, 1), NotFound).public


def test_download(stack: Stack) -> None:
    """Administrators only get the lines as a text, and that is recorded."""
    operation = stack.app.operation
    assert result_of(operation.download(ADMIN)) == b"one\ntwo\nthree\n"
    assert result_of(operation.download(ADMIN, LogFilter("TWO"))) == b"two\n"
    failure_of(operation.download(AUDITOR), NotAuthorized)
    events = result_of(stack.app.store.events(ListQuery(filters={"resource_type": "log"}))).items
    assert [(one.event.type, one.event.actor, one.event.details) for one in events] == [
        ("download", "root", {"octets": 4, "keyword": "TWO"}),
        ("download", "root", {"octets": 14}),
    ]


def test_without_a_log_file(tmp_path: Path) -> None:
    """Without a log file the view says where the log goes."""
    made = build_core(tmp_path, changes={("LOGGING", "log_file"): ""})
    assert "standard output" in failure_of(made.app.operation.log(ADMIN, 1), NotFound).public
    assert made.app.operation.log_file(ADMIN) is None
    made.close()


@pytest.mark.parametrize(
    ("actor", "error"), [(ANONYMOUS, AuthenticationFailed), (USER, NotAuthorized), (WEAK, NotAuthorized)]
)
def test_who_may(stack: Stack, actor: Principal, error: type[AuthenticationFailed | NotAuthorized]) -> None:
    """Admins who act as such."""
    operation: ServerView = stack.app.operation
    asked: list[Callable[[Principal], object]] = [
        operation.settings,
        operation.warnings,
        operation.file,
        operation.log_file,
    ]
    for ask in asked:
        with pytest.raises(error):
            ask(actor)
    failure_of(operation.log(actor, 5), error)
    failure_of(operation.download(actor), error)
