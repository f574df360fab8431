"""Paths of pages about one object each, which is made for it, for tests of authorization."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

from pikachu.auth.authenticator import account_principal
from pikachu.core.model.events import Event
from pikachu.core.model.notices import NoticeKind, NoticeOrder
from pikachu.core.model.passkeys import NewPasskey
from pikachu.core.model.people import SYSTEM
from pikachu.x509.certificate import parse_certificate
from tests.support.databases import NOW, event
from tests.support.deferreds import result_of
from tests.support.ra import stored_request
from tests.support.recovered import recover
from tests.support.visitor import Pages, Visitor

COUNT = itertools.count(1)


def made(form: str, fields: Mapping[str, str], after: str = "") -> Callable[[Pages, Visitor], str]:
    """Sends a form that makes an object and leads to its page; gives that page's address with *after* behind it."""

    def make(_: Pages, owner: Visitor) -> str:
        response = owner.post(form, {name: value.replace("NEXT", str(next(COUNT))) for name, value in fields.items()})
        assert response.status == 303, response.body
        return response.headers["Location"] + after

    return make


def templates(after: str = "") -> Callable[[Pages, Visitor], str]:
    fields = {"name": "mine", "profile_type": "Device", "content": "[ v3_ext ]\n"}
    return made("/templates/new", fields, after)


def policies(after: str = "") -> Callable[[Pages, Visitor], str]:
    return made("/policies/new", {"name": "policy NEXT", "days": "9", "extensions": "[ v3_ext ]\n"}, after)


def job(after: str = "") -> Callable[[Pages, Visitor], str]:
    fields = {"resource": "keys", "action": "delete", "rows": "page", "page": "1", "confirm": "1"}

    def make(pages: Pages, owner: Visitor) -> str:
        path = made("/jobs", fields, after)(pages, owner)
        # The jobs of earlier tests come first.
        pages.clock.pump([0.1] * 20)
        return path

    return make


def event_path(pages: Pages, owner: Visitor) -> str:
    """An event about what is alice's."""
    pages.stack.issue("event.example.com", owner_id=pages.accounts["alice"].id)
    return f"/events/{result_of(pages.stack.app.store.newest_event())}"


def stored_key(action: str) -> Callable[[Pages, Visitor], str]:
    """The path of a page about a key of alice's."""

    def make(pages: Pages, owner: Visitor) -> str:
        principal = account_principal(pages.accounts["alice"], "192.0.2.1")
        return f"/keys/{result_of(pages.stack.app.keys.generate(principal, 'mine', 'ed25519')).id}{action}"

    return make


def kept_request(list_path: str, action: str) -> Callable[[Pages, Visitor], str]:
    """The same of a stored request."""
    return lambda pages, owner: f"{list_path}/{stored_request(pages).id}{action}"


def own_certificate(action: str) -> Callable[[Pages, Visitor], str]:
    """The same of a certificate."""
    return lambda pages, owner: (
        f"/certificates/{pages.stack.issue(owner_id=pages.accounts['alice'].id).record.id}{action}"
    )


def token(after: str) -> Callable[[Pages, Visitor], str]:
    """A page about a token of alice's."""

    def make(pages: Pages, _: Visitor) -> str:
        making = pages.stack.app.tokens.create(SYSTEM, pages.accounts["alice"].id, f"token {next(COUNT)}")
        return f"/account/tokens/{result_of(making)[0].id}{after}"

    return make


def bound_certificate(pages: Pages, _: Visitor) -> str:
    """The page that asks whether a client certificate shall sign alice in no more."""
    leaf = parse_certificate(pages.stack.issue(owner_id=pages.accounts["alice"].id).der)
    bound = result_of(pages.stack.app.sessions.bind(SYSTEM, pages.accounts["alice"].id, leaf))
    return f"/account/certificates/{bound.id}/unbind"


def passkey(pages: Pages, _owner: Visitor) -> str:
    """The page that asks whether a passkey of alice's shall be removed."""
    alice, number = pages.accounts["alice"].id, next(COUNT)
    device = NewPasskey(alice, f"{number}", "ca.example.org", b"%d" % number, b"", 0, b"", number, ())
    result_of(pages.stack.app.store.add_passkey(device, 99, event(), NOW))
    found = result_of(pages.stack.app.passkeys.of_account(SYSTEM, alice))[-1]
    return f"/account/passkeys/{found.id}/remove"


def user(action: str) -> Callable[[Pages, Visitor], str]:
    """A page about bob."""
    return lambda pages, _: f"/users/{pages.accounts['bob'].id}{action}"


def recovered(path: str) -> Callable[[Pages, Visitor], str]:
    """A page about a recovered revocation."""
    return lambda pages, _: path.format(recover(pages.stack.app, pages.clock, 0x7000 + next(COUNT))[-1])


def certificate(action: str) -> Callable[[Pages, Visitor], str]:
    """A page about a new certificate of alice's."""

    def made(pages: Pages, _: Visitor) -> str:
        issued = pages.stack.issue(owner_id=pages.accounts["alice"].id)
        return f"/certificates/{issued.record.id}{action}"

    return made


def notice_rule(action: str) -> Callable[[Pages, Visitor], str]:
    """A page about a new rule of notices."""

    def made(pages: Pages, _: Visitor) -> str:
        order = NoticeOrder(f"rule {next(COUNT)}", NoticeKind.CRLS, addresses=("ops@example.com",))
        event, now = Event("create", "notice rule", order.name, "test"), pages.stack.app.authority.now()
        rule_id = result_of(pages.stack.app.store.put_notice_rule(None, order, "test", event, now))
        return f"/notices/{rule_id}{action}"

    return made


def identity_list(action: str) -> Callable[[Pages, Visitor], str]:
    """A page about a new list of identities."""

    def made(pages: Pages, _: Visitor) -> str:
        found = result_of(pages.stack.app.identity_lists.create(SYSTEM, f"list {next(COUNT)}", "a"))
        return f"/identity-lists/{found.id}{action}"

    return made


def device(action: str = "") -> Callable[[Pages, Visitor], str]:
    """A page about a new device of alice's."""

    def made(pages: Pages, _: Visitor) -> str:
        issued = pages.stack.issue(owner_id=pages.accounts["alice"].id)
        return f"/devices/{issued.record.device_id}{action}"

    return made
