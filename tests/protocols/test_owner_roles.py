"""The role of an account counts for all its credentials, as it is now: every protocol (ROL-1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest

from pikachu.core.model.people import SYSTEM, Role
from pikachu.core.model.policies import POLICY_ROLES, Approval
from tests.support.deferreds import result_of
from tests.support.ways_in import WAYS, Person, Server, every_way

STAFF = (Role.OPERATOR, Role.ADMIN)


@dataclass(frozen=True)
class Change:
    """A change of an account's role.

    :ivar allowed: the roles that may use the policies.
    """

    before: Role
    after: Role
    allowed: tuple[Role, ...]

    @property
    def refused(self) -> bool:
        """Whether the account may not use the policies any more."""
        return self.after not in self.allowed


CHANGES = {
    "user to auditor": Change(Role.USER, Role.AUDITOR, POLICY_ROLES),
    "admin to auditor": Change(Role.ADMIN, Role.AUDITOR, POLICY_ROLES),
    "operator to user, policies for staff": Change(Role.OPERATOR, Role.USER, STAFF),
    "operator to user": Change(Role.OPERATOR, Role.USER, POLICY_ROLES),
    "user to operator": Change(Role.USER, Role.OPERATOR, POLICY_ROLES),
}


class Servers:
    """A server for each change and each kind of policy: an address that has failed thirty times is refused."""

    def __init__(self, factory: pytest.TempPathFactory, context: ExitStack) -> None:
        self._factory = factory
        self._context = context
        self._servers: dict[tuple[str, bool], Server] = {}

    def get(self, change: str, *, manual: bool) -> Server:
        """Return the server whose policies are those of the change, with approval if *manual*."""
        if (change, manual) not in self._servers:
            server = self._context.enter_context(every_way(self._factory.mktemp("server")))
            roles = CHANGES[change].allowed
            administration = server.stack.app.policy_administration
            result_of(administration.change(SYSTEM, 0, lambda system: replace(system, roles=roles)))
            if manual:
                server.policy("looked at", approval=Approval.MANUAL, use_for_scep=True, roles=roles)
            self._servers[change, manual] = server
        return self._servers[change, manual]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Start servers as they are needed."""
    with ExitStack() as context:
        yield Servers(tmp_path_factory, context)


def change_role(person: Person, role: Role) -> None:
    """Change the role, and let what was cached of the account be forgotten."""
    stack = person.server.stack
    result_of(stack.app.accounts.update(SYSTEM, person.account.id, role=role))
    stack.clock.advance(1)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("way", WAYS)
def test_way_in(servers: Servers, way: str, name: str) -> None:
    """Each cell: the credentials are obtained in one role, and used in another one."""
    change = CHANGES[name]
    person = Person(servers.get(name, manual=WAYS[way].manual), role=change.before)
    attempt = WAYS[way].prepare(person)
    change_role(person, change.after)
    refused = WAYS[way].by_role if change.refused else None
    assert attempt() == (refused or WAYS[way].good)
