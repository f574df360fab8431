"""An inactive account's credentials don't authenticate: every protocol, in every state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, AccountState
from pikachu.core.model.policies import Approval
from tests.support.deferreds import result_of
from tests.support.ways_in import WAYS, Person, Server, Way, every_way


class Servers:
    """One server for each state: an address that has failed thirty times is refused."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._servers: dict[tuple[str, bool], Server] = {}
        self._open = ExitStack()

    def get(self, state: str, *, manual: bool) -> Server:
        """Return the server of that state, where requests wait for approval if *manual*."""
        if (state, manual) not in self._servers:
            self._servers[state, manual] = self.new(self._open, manual=manual)
        return self._servers[state, manual]

    def new(self, context: ExitStack, *, manual: bool) -> Server:
        """Start a server that runs as long as *context*."""
        server = context.enter_context(every_way(self._factory.mktemp("server")))
        if manual:
            server.policy("looked at", approval=Approval.MANUAL, use_for_scep=True)
        return server

    def close(self) -> None:
        """Stop all."""
        self._open.close()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Start servers as they are needed."""
    made = Servers(tmp_path_factory)
    yield made
    made.close()


def active(person: Person) -> None:
    """Leave all as it is."""


def suspended(person: Person) -> None:
    result_of(person.server.stack.app.accounts.suspend(SYSTEM, person.account.id))


def pending(person: Person) -> None:
    result_of(person.server.stack.app.accounts.deactivate(SYSTEM, person.account.id))


def deleted(person: Person) -> None:
    result_of(person.server.stack.app.accounts.delete(SYSTEM, person.account.id))


def registered_again(person: Person) -> None:
    """Delete the account, and add another one of its name and password."""
    deleted(person)
    person.server.add(person.username)


def activated_again(person: Person) -> None:
    suspended(person)
    result_of(person.server.stack.app.accounts.activate(SYSTEM, person.account.id))


def on_hold(person: Person) -> None:
    for leaf in person.leaves:
        person.server.stack.revoke(leaf, RevocationReason.CERTIFICATE_HOLD)


def revoked(person: Person) -> None:
    for leaf in person.leaves:
        person.server.stack.revoke(leaf)


def hidden(person: Person) -> None:
    """Delete the certificates from the lists."""
    for leaf in person.leaves:
        person.server.stack.delete(leaf)


def expired(person: Person) -> None:
    if person.leaves:
        person.server.stack.clock.advance(2 * 86400)


ACCOUNT_STATES: dict[str, Callable[[Person], None]] = {
    "active": active,
    "pending": pending,
    "suspended": suspended,
    "deleted": deleted,
    "registered again": registered_again,
}
CERTIFICATE_STATES: dict[str, Callable[[Person], None]] = {
    "on hold": on_hold,
    "revoked": revoked,
    "hidden": hidden,
    "expired": expired,
}
STATES = {**ACCOUNT_STATES, **CERTIFICATE_STATES}


def expected(way: Way, state: str) -> str:
    """Return the answer of one cell."""
    if state == "active":
        return way.good
    if state in CERTIFICATE_STATES:
        return way.good if way.by_certificate is None else way.by_certificate
    if state == "registered again" and way.by_name:
        return way.good
    erased = state in ("deleted", "registered again") and way.erased is not None
    return str(way.erased) if erased else way.refused


def test_every_state_of_an_account_is_in_the_table() -> None:
    assert set(AccountState) <= set(ACCOUNT_STATES)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", WAYS)
def test_way_in(servers: Servers, name: str, state: str) -> None:
    """Each cell: the credentials are obtained while all is well, and used afterwards."""
    way = WAYS[name]
    if state == "expired" and way.by_certificate is not None:
        # OpenSSL goes by the real time, so a server whose clock was moved serves one cell only.
        with ExitStack() as context:
            check_cell(Person(servers.new(context, manual=way.manual), days=1), way, state)
    else:
        check_cell(Person(servers.get(state, manual=way.manual)), way, state)


def check_cell(person: Person, way: Way, state: str) -> None:
    """Use the credentials of *way* before and after *state* has come."""
    server = person.server
    attempt = way.prepare(person)
    STATES[state](person)
    before = _owned(server, person.account.id)
    assert attempt() == expected(way, state)
    if state in ("pending", "suspended", "deleted", "registered again"):
        assert _owned(server, person.account.id) == before, "something was issued to an account that is not active"


def _owned(server: Server, owner_id: int) -> int:
    app = server.stack.app
    query = ListQuery(limit=1000, owner_id=owner_id)
    return len(result_of(app.store.certificates(query, app.authority.now())).items)
