"""Lists show owners' names: a page costs the same number of queries for one owner and for many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, event

from pikachu.cli.main import main
from pikachu.core.model.certificates import Method
from pikachu.core.model.people import SYSTEM, AccountState, Principal, Role
from pikachu.core.model.policies import Approval, Policy
from pikachu.inventory.templates import TemplateDraft
from pikachu.web.ui.csrs import EXAMPLE
from tests.support.deferreds import result_of
from tests.support.pki import make_csr
from tests.support.rest import open_rest
from tests.support.stack import DEFAULT_EXTENSIONS, Stack
from tests.support.visitor import Pages, make_pages

PAGES = (
    "/certificates",
    "/challenge-passwords",
    "/csrs",
    "/keys",
    "/policies",
    "/ra",
    "/ra/approvals",
    "/templates",
)
API_LISTS = (
    "/approvals",
    "/certificates",
    "/challenge-passwords",
    "/csrs",
    "/events",
    "/keys",
    "/policies",
    "/templates",
    "/tokens",
)
#: More than the seconds for which names are cached.
OUTDATED = 60
WAITING = "waits for a person"


@contextmanager
def transactions() -> Iterator[list[object]]:
    """Gather the transactions that begin meanwhile, in any database of this process."""
    begun: list[object] = []
    # One object: another one of the same method is not known to remove().
    record = begun.append
    event.listen(Engine, "begin", record)
    try:
        yield begun
    finally:
        event.remove(Engine, "begin", record)


def add_owner(stack: Stack, number: int) -> None:
    """Add an account that owns one object of each kind."""
    app, name = stack.app, f"owner{number:02}"
    adding = app.accounts.add_user(
        SYSTEM, name, f"{name}@example.com", Role.USER, AccountState.ACTIVE, f"password of {name}"
    )
    account = result_of(adding)
    owner: Principal = result_of(app.authenticator.basic(name, f"password of {name}", "192.0.2.10"))
    for slot, policy in ((number, None), (100 + number, WAITING)):
        csr = make_csr("p256", f"{name}-{slot}.example.com", slot=200 + slot)[1]
        result_of(app.registration.sign(owner, csr, Method.UI, policy=policy))
    result_of(app.challenge_passwords.create(owner))
    result_of(app.tokens.create(owner, account.id, "script"))
    result_of(app.requests.store(owner, "a CSR", make_csr("p256", name, slot=400 + number)[1]))
    result_of(app.keys.generate(owner, "a key", "prime256v1"))
    result_of(app.policy_administration.add(owner, Policy(0, f"of {name}", 30, DEFAULT_EXTENSIONS)))
    result_of(app.templates.add(owner, TemplateDraft("a template", "CSR", EXAMPLE)))


@pytest.fixture
def site(stack: Stack) -> Pages:
    """The pages, with two owners of everything."""
    pages = make_pages(stack)
    waiting = Policy(0, WAITING, 30, DEFAULT_EXTENSIONS, system=True, approval=Approval.MANUAL)
    result_of(stack.app.policy_administration.add(SYSTEM, waiting))
    for number in range(2):
        add_owner(stack, number)
    return pages


def add_more(stack: Stack) -> None:
    """Add ten further owners."""
    for number in range(2, 12):
        add_owner(stack, number)


def test_pages(site: Pages) -> None:
    """Each list's page, and its CSV."""
    browser, stack = site.visitor("root"), site.stack
    addresses = [
        *(f"{path}?limit=100" for path in PAGES),
        *(f"{path}?format=csv" for path in PAGES if path != "/ra/approvals"),
    ]

    def costs() -> dict[str, int]:
        found = {}
        for address in addresses:
            stack.clock.advance(OUTDATED)
            with transactions() as begun:
                text = browser.get(address)
            found[address] = len(begun)
            assert "owner01" in text, address
        return found

    before = costs()
    add_more(stack)
    assert costs() == before


def test_api(site: Pages) -> None:
    """Each list of the REST API."""
    rest = open_rest(site.stack)
    rest.accounts["root"] = site.accounts["root"]
    rest.tokens["root"] = rest.token("root")

    def costs() -> dict[str, int]:
        found = {}
        for path in API_LISTS:
            site.stack.clock.advance(OUTDATED)
            with transactions() as begun:
                page = rest.good("GET", f"{path}?limit=100", who="root")
            found[path] = len(begun)
            assert any("owner01" in one.values() for one in page["items"]), path
        return found

    before = costs()
    add_more(site.stack)
    assert costs() == before


@pytest.mark.parametrize("command", ["policy", "token", "challenge"])
def test_commands(site: Pages, capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Each command that lists what belongs to accounts."""

    def cost() -> int:
        with transactions() as begun:
            assert main([command, "list", "--config", str(site.stack.files.config)]) == 0
        assert "\towner01\t" in capsys.readouterr().out
        return len(begun)

    before = cost()
    add_more(site.stack)
    assert cost() == before
