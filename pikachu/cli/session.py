"""Common code of the commands: the application, the operator's principal, input and output."""

from __future__ import annotations

import os
import pwd
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pikachu.config.configuration import Configuration
from pikachu.config.features import require_features
from pikachu.config.loading import load
from pikachu.core.errors import MalformedRequest
from pikachu.core.interfaces import IDelayedCall
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import Principal, PrincipalKind, Role, Scope
from pikachu.server.application import Application
from pikachu.server.composition import SafetySettings, build
from pikachu.server.files import database_url
from pikachu.server.pools import immediate_pools
from pikachu.storage.migrate import SchemaState, migrate_unserved, schema_state

P = ParamSpec("P")
T = TypeVar("T")

_PAGE = 500
_MAXIMUM_INPUT = 1 << 20


class _NeverCalled:
    """A timer that never fires: the command ends before."""

    def cancel(self) -> None:
        """Do nothing: the timer is never scheduled."""

    def active(self) -> bool:
        """Return False: the timer is never scheduled."""
        return False

    def reset(self, seconds: float, /) -> None:
        """Do nothing: the timer is never scheduled."""


class CommandClock:
    """The time of day; timers end with the command, so none is scheduled."""

    def seconds(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    def callLater(  # noqa: N802 - Twisted's name
        self, delay: float, callable: Callable[P, object], *args: P.args, **kw: P.kwargs
    ) -> IDelayedCall:
        """Return a timer that never fires."""
        return _NeverCalled()


def warn(message: str) -> None:
    """Print a warning on standard error."""
    print(f"warning: {message}", file=sys.stderr)


def configuration(arguments: Namespace) -> Configuration:
    """Load the configuration that ``--config`` names.

    :raises ConfigError: one line.
    """
    return load(Path(arguments.config), os.environ)


def operator() -> Principal:
    """Return the principal of the commands: an administrator, like everyone who can read the CA's keys."""
    try:
        # Environment variables could forge the name, which the audit log records.
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return Principal(PrincipalKind.SYSTEM, f"cli ({user})", role=Role.ADMIN, scopes=frozenset(Scope))


@contextmanager
def opened(config: Configuration, safety: SafetySettings | None = None) -> Iterator[Application]:
    """Build the application, beside a running server or without one; each Deferred has fired when it is returned.

    :raises ConfigError: one line.
    """
    require_features(config)
    url = database_url(config)
    if schema_state(url) is SchemaState.OLDER:
        migrate_unserved(url)
    app = build(config, CommandClock(), immediate_pools(), None, f"cli:{os.getpid()}", warn, safety)
    try:
        yield app
    finally:
        done(app.store.close())


def done(promise: Deferred[T]) -> T:
    """Return the result of a fired Deferred, or raise its failure."""
    results: list[T | Failure] = []
    promise.addBoth(results.append)
    if not results:
        raise AssertionError("a command's work is done when the call returns")
    result = results[0]
    if isinstance(result, Failure):
        result.raiseException()
    return result


def every(read: Callable[[ListQuery], Deferred[Page[T]]], query: ListQuery) -> Iterator[T]:
    """Yield all rows of a list."""
    return (item for items in every_page(read, query) for item in items)


def every_page(read: Callable[[ListQuery], Deferred[Page[T]]], query: ListQuery) -> Iterator[Sequence[T]]:
    """Yield the rows of a list page by page."""
    cursor: str | None = None
    while True:
        page = done(read(ListQuery(_PAGE, cursor, query.q, query.sort, query.owner_id, query.filters)))
        yield page.items
        cursor = page.next_cursor
        if cursor is None:
            return


def every_owned(
    app: Application,
    read: Callable[[ListQuery], Deferred[Page[T]]],
    query: ListQuery,
    owner_of: Callable[[T], int | None],
) -> Iterator[tuple[T, str | None]]:
    """Yield all rows of a list with their owners' names, which take one query a page."""
    for items in every_page(read, query):
        names = done(app.inventory.owner_names(operator(), map(owner_of, items)))
        for item in items:
            owner = owner_of(item)
            yield item, None if owner is None else names.get(owner, f"#{owner}")


def table(rows: Iterable[Sequence[object]]) -> None:
    """Print rows with tabs between, for people and scripts alike; ``None`` is ``-``."""
    for row in rows:
        print("\t".join("-" if cell is None or cell == "" else str(cell) for cell in row))


def read_input(name: str) -> bytes:
    """Read a file, or standard input for ``-``.

    :raises MalformedRequest: when it can't be read or is larger than 1 MiB.
    """
    try:
        if name == "-":
            content = sys.stdin.buffer.read(_MAXIMUM_INPUT + 1)
        else:
            with Path(name).open("rb") as stream:
                content = stream.read(_MAXIMUM_INPUT + 1)
    except OSError as error:
        raise MalformedRequest(f"{name} can't be read: {error.strerror}") from None
    if len(content) > _MAXIMUM_INPUT:
        raise MalformedRequest(f"{name} is larger than 1 MiB")
    return content


def read_text(name: str) -> str:
    """Read a file, or standard input for ``-``, as text.

    :raises MalformedRequest: when it can't be read, is larger than 1 MiB, or is not UTF-8.
    """
    try:
        return read_input(name).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MalformedRequest(f"{name} is not UTF-8 text") from None


def read_password(name: str) -> str:
    """Read the first line of a password file, or of standard input for ``-``.

    :raises MalformedRequest: when it is empty or can't be read.
    """
    line = read_text(name).partition("\n")[0].removesuffix("\r")
    if not line:
        raise MalformedRequest(f"{name}: the first line is empty; it is the password")
    return line


def owner_id(app: Application, name: str | None) -> int | None:
    """Return the id of the account of that name; ``None`` for ``None``.

    :raises NotFound: when there is none.
    """
    return None if name is None else done(app.accounts.find(operator(), name)).id
