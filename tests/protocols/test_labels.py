"""Which policy each EST and SCEP operation uses: by label, and on the path without one (POL-1, POL-3)."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from pikachu.core.model.certificates import Method
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Principal, Role
from pikachu.core.model.policies import LABEL_PROTOCOLS, PolicyLimits
from pikachu.http.request import Limits, PathRule, Site
from pikachu.http.resources import NotFoundResource
from pikachu.http.tree import Tree
from pikachu.protocols.est.resource import ESTResource
from pikachu.protocols.scep.resource import put_scep
from pikachu.server.sites import scep_server
from tests.support.deferreds import result_of
from tests.support.est import certificates_in
from tests.support.pki import make_csr
from tests.support.scep import FAILURE, SCEP, SUCCESS
from tests.support.scep_client import csr as scep_csr
from tests.support.stack import Response, Stack, build_core

NAME = "Door locks_1.0"
ESCAPED = "Door%20locks_1.0"
#: The validity of the examined policy, of another one of the same owner, and of the policy in files.
EXAMINED, OTHER = 5, 11
EST_OPERATIONS = ("simpleenroll", "serverkeygen", "csrattrs", "cacerts")
SCEP_OPERATIONS = ("PKCSReq", "GetCACert", "GetCACaps")
COUNTER = itertools.count(1)


@dataclass
class Server(SCEP):
    """A server with both protocols, and the people who enroll."""

    people: dict[str, Principal] = field(default_factory=dict)

    def clear(self) -> None:
        """Delete all policies."""
        store, now = self.stack.app.store, self.stack.app.authority.now()
        for policy in result_of(store.policies(ListQuery(limit=100))).items:
            event = Event("delete", "policy", policy.name, "test")
            result_of(store.delete_policy(policy.id, lambda _, event=event: event, now))  # type: ignore[misc]
        self.stack.app.policies.forget()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    stack = build_core(tmp_path_factory.mktemp("core"), key_types=("p256", "rsa2048", "mldsa44"))
    made = Server(stack, _site(stack))
    made.people = {name: made.account(name) for name in ("alice", "bob")}
    made.people["root"] = made.account("root", Role.ADMIN)
    assert stack.issuer().name == "ec"
    yield made
    stack.close()


def _site(stack: Stack) -> Site:
    tree, known = Tree(NotFoundResource()), Tree(NotFoundResource())
    known.putChild(b"est", ESTResource(stack.app.est, stack.app.pools.server_keys, "auto"))
    tree.putChild(b".well-known", known)
    put_scep(tree, scep_server(stack.app))
    return stack.site(tree, limits=Limits(rules=(PathRule(b"/", 64 * 1024),)))


@dataclass(frozen=True)
class Case:
    """A policy, and another one of the same owner that is the default unless the examined one is.

    :param owner: ``system``, or the name of its owner; alice enrolls.
    """

    owner: str
    protocols: frozenset[Method]
    default: bool

    def expected(self, protocol: Method, *, label: bool, public: bool) -> int | None:
        """Return the validity of the policy that applies; 0 for that in files, ``None`` for 404."""
        is_used = protocol in self.protocols
        if label:
            return EXAMINED if is_used and (public or self.owner in ("system", "alice")) else None
        if not is_used or self.owner not in (("system",) if public else ("system", "alice")):
            return 0
        return EXAMINED if self.default else OTHER


def _cases() -> Iterator[Case]:
    used = [frozenset(one) for size in range(3) for one in itertools.combinations(LABEL_PROTOCOLS, size)]
    for owner, protocols, default in itertools.product(("system", "alice", "bob"), used, (True, False)):
        if protocols or default:
            yield Case(owner, protocols, default)


def _text(case: Case) -> str:
    return "-".join((case.owner, "+".join(sorted(case.protocols)) or "none", "default" if case.default else "other"))


def _make(server: Server, case: Case) -> None:
    server.clear()
    flags = {f"use_for_{one.value.lower()}": one in case.protocols for one in LABEL_PROTOCOLS}
    is_system = case.owner == "system"
    owner_id = None if is_system else server.people[case.owner].owner_id
    group: dict[str, Any] = {"system": is_system, "owner_id": owner_id, **flags}
    if not case.default:
        server.policy("the other", days=OTHER, **group)
    # What csrattrs and cacerts say differs as well.
    made = server.policy(NAME, days=EXAMINED, issuer="mldsa", limits=PolicyLimits(keys=("EC", "RSA")), **group)
    for protocol in case.protocols:
        assert made.is_default_for(protocol) is case.default


def _days(certificate: x509.Certificate) -> int:
    return (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days


def _applied(server: Server, days: int) -> int:
    """Return *days*, or 0 for the validity of the policy in files."""
    return 0 if days == server.stack.app.policies.default.days else days


def _est(server: Server, operation: str, label: str | None, user: str = "alice") -> int | None:
    """Return the validity of the policy that an operation used, as far as it shows; ``None`` for 404."""
    if operation in ("csrattrs", "cacerts"):
        response = server.get(operation, label)
        if response.status == 404:
            return None
        if operation == "csrattrs":
            return EXAMINED if response.status == 200 else 0
        issuer = server.stack.issuer("mldsa").certificate.der
        found = [one.public_bytes(Encoding.DER) for one in certificates_in(response.body)]
        return EXAMINED if issuer in found else 0
    subject = f"device-{next(COUNTER)}"
    response = server.enroll(make_csr(subject=subject)[1], operation, label=label, user=user)
    if response.status == 404:
        return None
    assert response.status == 200, response.body
    return _applied(server, _days(_issued(response)))


def _issued(response: Response) -> x509.Certificate:
    body = response.body
    if response.headers["Content-Type"].startswith("multipart"):
        head = f"Content-Type: {response.headers['Content-Type']}\r\n\r\n".encode()
        *_, part = message_from_bytes(head + body).walk()
        body = str(part.get_payload()).encode()
    (certificate,) = pkcs7.load_der_pkcs7_certificates(base64.b64decode(body))
    return certificate


def _scep(server: Server, operation: str, label: str | None, user: str = "alice") -> int | str | None:
    """Return the validity of the policy that an operation used, as far as it shows; ``None`` for 404."""
    path = "/scep" if label is None else f"/scep/{ESCAPED}"
    if operation in ("GetCACert", "GetCACaps"):
        response = server.get_scep(operation, path)
        if response.status == 404:
            return None
        assert response.status == 200
        # A CA with another key has an RA for SCEP, so the answer holds several certificates.
        return EXAMINED if response.headers["Content-Type"] == "application/x-x509-ca-ra-cert" else 0
    known = server.get_scep("GetCACert", path).status == 200
    client = server.client(path=path if known else "/scep")
    request = scep_csr(client.key, f"device-{next(COUNTER)}", server.challenge(server.people[user]))
    message = client.pkcs_req(request)
    if not known:
        assert server.post(message, f"{path}?operation=PKIOperation").status == 404
        return None
    reply = server.ask_scep(client, message, path)
    if reply.status == FAILURE:
        return None
    assert reply.status == SUCCESS, reply.fail_info_text
    (found,) = reply.certificates
    return _applied(server, _days(x509.load_der_x509_certificate(found)))


@pytest.mark.parametrize("case", list(_cases()), ids=_text)
def test_policies_by_label_and_without(server: Server, case: Case) -> None:
    """A label chooses one's own and system policies, never another owner's; without one the default applies."""
    _make(server, case)
    for label, operation in itertools.product((NAME, None), (*EST_OPERATIONS, *SCEP_OPERATIONS)):
        is_est = operation in EST_OPERATIONS
        public = operation in ("csrattrs", "cacerts", "GetCACert", "GetCACaps")
        expected = case.expected(Method.EST if is_est else Method.SCEP, label=label is not None, public=public)
        if public and expected == OTHER:
            # The other policy shows nothing that the one in files doesn't.
            expected = 0
        used = (_est if is_est else _scep)(server, operation, label)
        if operation == "GetCACaps" and expected is not None:
            assert used is not None
            continue
        assert used == expected, (operation, label)


@pytest.mark.parametrize("operation", ["simpleenroll", "PKCSReq"])
def test_an_administrators_labels(server: Server, operation: str) -> None:
    """Not even an administrator enrolls by the label of somebody else's policy."""
    _make(server, Case("alice", frozenset(LABEL_PROTOCOLS), True))
    ask = _est if operation == "simpleenroll" else _scep
    assert ask(server, operation, NAME, "root") is None
    assert ask(server, operation, NAME, "alice") == EXAMINED


def test_a_label_changes_nothing_without_one(server: Server) -> None:
    """Using further policies for a protocol, and enrolling by their labels, leaves the default as it is."""
    server.clear()
    server.policy("first", days=OTHER, use_for_scep=True)
    for number in range(3):
        server.policy(NAME if number == 0 else f"further {number}", days=EXAMINED, use_for_scep=True)
        assert _est(server, "simpleenroll", NAME) == _scep(server, "PKCSReq", NAME) == EXAMINED
        assert _est(server, "simpleenroll", None) == _scep(server, "PKCSReq", None) == OTHER


def test_another_process_moves_the_default(server: Server) -> None:
    """A change that is only in the database applies within a second."""
    server.clear()
    store, now = server.stack.app.store, server.stack.app.authority.now()
    server.policy("first", days=OTHER)
    second = server.policy(NAME, days=EXAMINED)
    assert _est(server, "simpleenroll", None) == OTHER
    moved = replace(second, default_for_est=True)
    result_of(store.update_policy(moved, Event("update", "policy", NAME, "test"), now))
    server.stack.clock.advance(1)
    assert _est(server, "simpleenroll", None) == EXAMINED
    assert _est(server, "simpleenroll", NAME) == EXAMINED


def test_a_default_that_is_gone(server: Server) -> None:
    """Deleting the default moves the mark to no other policy; the policy in files applies."""
    server.clear()
    store, now = server.stack.app.store, server.stack.app.authority.now()
    first = server.policy("first", days=OTHER)
    server.policy(NAME, days=EXAMINED)
    result_of(store.delete_policy(first.id, lambda _: Event("delete", "policy", "first", "test"), now))
    server.stack.app.policies.forget()
    assert _est(server, "simpleenroll", None) == 0
    # Neither does the next policy that is used for the protocol get it: it is not the first.
    server.policy("third", days=7)
    assert _est(server, "simpleenroll", None) == 0
    assert _est(server, "simpleenroll", NAME) == EXAMINED


def test_what_is_a_label(server: Server) -> None:
    """A label is compared with case, and ``pkiclient.exe`` is none."""
    _make(server, Case("system", frozenset(LABEL_PROTOCOLS), True))
    for path, status in (
        (f"/scep/{ESCAPED}", 200),
        (f"/scep/{ESCAPED.lower()}", 404),
        ("/scep/pkiclient.exe", 200),
        ("/scep/PKICLIENT.EXE", 404),
        ("/cgi-bin/pkiclient.exe", 200),
    ):
        assert server.get_scep("GetCACert", path).status == status, path
    for label, status in ((NAME, 200), (NAME.upper(), 404), ("pkiclient.exe", 404)):
        assert server.get("cacerts", label).status == status, label
