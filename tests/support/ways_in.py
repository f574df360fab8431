"""The ways for an account's devices, programs and browsers to authenticate: EST, SCEP, REST and pages."""

from __future__ import annotations

import html
import itertools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from pikachu.auth.authenticator import account_principal
from pikachu.core.model.events import Event
from pikachu.core.model.people import SYSTEM, Account, AccountState, NewAccount, Principal, Role
from pikachu.core.model.requests import RequestRecord
from pikachu.server.listeners import ClientCertificates
from pikachu.server.sites import Sites
from pikachu.web.browsers import SESSION
from pikachu.x509.certificate import parse_certificate
from pikachu.x509.pem import pem
from tests.support.connections import TLS
from tests.support.deferreds import result_of
from tests.support.est import PASSWORD
from tests.support.pki import Identity, make_csr, make_key
from tests.support.scep import BAD_REQUEST, PENDING, SCEP, SUCCESS
from tests.support.scep_client import CertRep, SCEPClient, csr, name, rsa_key, self_signed
from tests.support.stack import Leaf, Response, build_core

ADDRESS = "192.0.2.7"
_numbers = itertools.count(1000)


@dataclass
class Server(SCEP):
    """All protocols on one site, and an administrator.

    :ivar password_hash: of :data:`PASSWORD`: each one costs more than the rest of a test.
    """

    password_hash: str = ""
    root: Account | None = None

    def add(self, username: str, role: Role = Role.USER) -> Account:
        """Add an active account."""
        app = self.stack.app
        event = Event("add", "user", username, "test", about_account=True)
        email = f"{username}@example.com"
        return result_of(
            app.store.add_account(
                NewAccount(username, email, role, AccountState.ACTIVE, self.password_hash), event, app.authority.now()
            )
        )


@contextmanager
def every_way(folder: Path) -> Iterator[Server]:
    """Run a server with an RSA issuing CA, which EST and SCEP share."""
    stack = build_core(folder, key_types=("rsa2048",))
    try:
        sites = Sites(stack.app, stack.clock, lambda: False)
        server = Server(stack, stack.site(*sites.of("trusted_https"), sites.limits))
        made = result_of(
            stack.app.accounts.add_user(SYSTEM, "root", "root@example.com", Role.ADMIN, AccountState.ACTIVE, PASSWORD)
        )
        server.root, server.password_hash = made, made.password_hash or ""
        yield server
    finally:
        stack.close()


@dataclass
class Person:
    """An account, and the certificates that the tested way uses.

    :ivar days: validity of these.
    """

    server: Server
    days: int = 30
    role: Role = Role.USER
    leaves: list[Leaf] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.username = f"person{next(_numbers)}"
        self.account = self.server.add(self.username, self.role)

    @property
    def principal(self) -> Principal:
        """The account as it is signed in."""
        return account_principal(self.account, ADDRESS)

    def csr(self, challenge: str | None = None) -> bytes:
        """Make a request of a new key for the subject that is the person's."""
        key = make_key("p256", next(_numbers))
        return make_csr(subject=self.username, challenge=challenge, key=key)[1]

    def challenge(self) -> str:
        """Create a challenge password."""
        return self.server.challenge(self.principal)

    def identity(self) -> Identity:
        """Issue a client certificate."""
        found = self.server.identity(
            self.username, owner_id=self.account.id, days=self.days, key=make_key("p256", next(_numbers))
        )
        self._keep(found.der, found.key)
        return found

    def scep_client(self) -> SCEPClient:
        """Issue a certificate that signs SCEP messages.  All have one key and one name, since RSA keys take long."""
        key = rsa_key(1)
        leaf = self.server.stack.issue("device", days=self.days, key=key, owner_id=self.account.id)
        self.leaves.append(leaf)
        return SCEPClient(key, leaf.der, self.server.recipient())

    def stranger(self) -> SCEPClient:
        """Return a SCEP client that has no certificate yet."""
        return SCEPClient(rsa_key(1), self_signed(rsa_key(1)), self.server.recipient())

    def bound_identity(self, account: Account | None = None) -> Identity:
        """Issue a client certificate and bind it to the account, or to another one as an administrator can."""
        found = self.identity()
        app = self.server.stack.app
        result_of(app.sessions.bind(SYSTEM, (account or self.account).id, parse_certificate(found.der)))
        return found

    def _keep(self, der: bytes, key: Any) -> None:
        serial = parse_certificate(der).serial
        self.leaves.append(Leaf(result_of(self.server.stack.app.store.certificate_by_serial(serial)), key))

    # --- what is asked -------------------------------------------------------------------

    def rest(self, path: str, headers: dict[str, str], tls: TLS | None = None, body: object = None) -> Response:
        """Call REST."""
        if body is None:
            return self.server.send(f"/api/v1{path}", "GET", headers=headers, tls=tls)
        fields = {**headers, "Content-Type": "application/json"}
        return self.server.send(f"/api/v1{path}", "POST", json.dumps(body).encode(), fields, tls)

    def sign_in(self, tls: TLS, path: str, fields: dict[str, str]) -> Response:
        """Fill a sign-in form in a browser that has a TLS connection."""
        form = self.server.send("/login", "GET", headers={"Accept": "text/html"}, tls=tls)
        found = re.search(r'name="csrf" value="([^"]*)"', form.body.decode())
        assert found, form
        body = urlencode({**fields, "csrf": html.unescape(found[1]), "next": "/"}).encode()
        headers = {
            "Cookie": form.headers["Set-Cookie"].partition(";")[0],
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return self.server.send(path, "POST", body, headers, tls)

    def waiting(self) -> RequestRecord:
        """Return the person's request that waits for approval."""
        (found,) = [one for one in self.server.approvals() if one.owner_id == self.account.id]
        return found


Attempt = Callable[[], str]


def http(response: Response) -> str:
    """Return the status as text."""
    return str(response.status)


def scep(reply: CertRep) -> str:
    """Return what the client learns."""
    if reply.status in (SUCCESS, PENDING):
        return {SUCCESS: "SUCCESS", PENDING: "PENDING"}[reply.status]
    return "badRequest" if reply.fail_info == BAD_REQUEST else f"failInfo {reply.fail_info}"


def _est_by_certificate(operation: str) -> Callable[[Person], Attempt]:
    def prepare(person: Person) -> Attempt:
        identity = person.identity()
        return lambda: http(person.server.enroll(person.csr(), operation, tls=person.server.connect(identity)))

    return prepare


def _est_by_password(operation: str) -> Callable[[Person], Attempt]:
    return lambda person: lambda: http(person.server.enroll(person.csr(), operation, user=person.username))


def _est_by_challenge(person: Person) -> Attempt:
    request = person.csr(person.challenge())
    return lambda: http(person.server.enroll(request))


def _est_by_challenge_of_another(person: Person) -> Attempt:
    """Another, active account uses the person's challenge password."""
    request, other = person.csr(person.challenge()), Person(person.server, role=person.role)
    return lambda: http(person.server.enroll(request, user=other.username))


def _est_repeated(person: Person) -> Attempt:
    request = person.csr(person.challenge())
    assert person.server.enroll(request).status == 200
    return lambda: http(person.server.enroll(request))


def _est_polled_by_challenge(person: Person) -> Attempt:
    request = person.csr(person.challenge())
    assert person.server.enroll(request).status == 202
    return lambda: http(person.server.enroll(request))


def _est_polled_by_certificate(person: Person) -> Attempt:
    request, identity = person.csr(), person.identity()
    assert person.server.enroll(request, tls=person.server.connect(identity)).status == 202
    return lambda: http(person.server.enroll(request, tls=person.server.connect(identity)))


def _scep_by_challenge(person: Person) -> Attempt:
    client = person.stranger()
    message = client.pkcs_req(csr(client.key, challenge=person.challenge()), transaction_id=person.username)
    return lambda: scep(person.server.ask_scep(client, message))


def _scep_repeated(person: Person) -> Attempt:
    again = _scep_by_challenge(person)
    assert again() == "SUCCESS"
    return again


def _scep_renewed(kind: str) -> Callable[[Person], Attempt]:
    def prepare(person: Person) -> Attempt:
        client = person.scep_client()
        build = client.renewal_req if kind == "RenewalReq" else client.pkcs_req
        message = build(csr(client.key), transaction_id=person.username)
        return lambda: scep(person.server.ask_scep(client, message))

    return prepare


def _scep_polled(person: Person) -> Attempt:
    assert _scep_by_challenge(person)() == "PENDING"
    client = person.stranger()
    message = client.cert_poll(name("any"), name("device"), transaction_id=person.username)
    return lambda: scep(person.server.ask_scep(client, message))


def _approved(person: Person) -> Attempt:
    assert _est_polled_by_challenge(person)() == "202"
    return _approve(person)


def _approved_for_certificate(person: Person) -> Attempt:
    assert _est_polled_by_certificate(person)() == "202"
    return _approve(person)


def _approve(person: Person) -> Attempt:
    request, server = person.waiting(), person.server
    token = _token(server, server.root)
    return lambda: http(person.rest(f"/approvals/{request.id}/approval", token, body={}))


def _token(server: Server, account: Account | None) -> dict[str, str]:
    assert account is not None
    made = server.stack.app.tokens.create(SYSTEM, account.id, f"token {next(_numbers)}")
    return {"Authorization": f"Bearer {result_of(made)[1]}"}


def _rest_by_token(person: Person) -> Attempt:
    token, body = _token(person.server, person.account), {"csr": pem("CERTIFICATE REQUEST", person.csr())}
    return lambda: http(person.rest("/certificates", token, body=body))


def _rest_by_certificate(person: Person, account: Account | None = None) -> Attempt:
    identity, origin = person.bound_identity(account), {"Origin": "https://localhost"}
    body = {"csr": pem("CERTIFICATE REQUEST", person.csr())}
    return lambda: http(person.rest("/certificates", origin, person.server.connect(identity), body))


def _to_another(way: Callable[[Person, Account | None], Attempt]) -> Callable[[Person], Attempt]:
    """An administrator bound the person's certificate to another account, which is active."""
    return lambda person: way(person, Person(person.server, role=person.role).account)


def _rest_for_owner(person: Person) -> Attempt:
    """An administrator signs a CSR that the person keeps here."""
    app = person.server.stack.app
    kept = result_of(app.requests.store(person.principal, person.username, person.csr()))
    token = _token(person.server, person.server.root)
    return lambda: http(person.rest("/certificates", token, body={"csr_id": kept.id}))


def _page_by_session(person: Person) -> Attempt:
    app = person.server.stack.app
    _, secret = result_of(app.sessions.renew(person.account, ADDRESS, "browser"))
    headers = {"Cookie": f"{SESSION}={secret}", "Accept": "text/html"}
    return lambda: http(person.server.send("/certificates", "GET", headers=headers))


def _page_by_password(person: Person) -> Attempt:
    fields = {"username": person.username, "password": PASSWORD}
    return lambda: http(person.sign_in(person.server.connect(), "/login", fields))


def _page_by_certificate(person: Person, account: Account | None = None) -> Attempt:
    identity = person.bound_identity(account)

    def attempt() -> str:
        tls = person.server.connect(identity, clients=ClientCertificates.REQUIRED)
        return http(person.sign_in(tls, "/login/certificate", {}))

    return attempt


@dataclass(frozen=True)
class Way:
    """One way to authenticate.

    :param good: the answer while the account is active and its certificates are good.
    :param refused: the answer while the account is not active.
    :param by_certificate: the way stands on a certificate: the answer when that is not good; ``None``: it does not.
    :param by_name: authenticated by the account's current name and password.
    :param erased: the answer once the account is deleted, where that is another: nothing is bound to it any more.
    :param manual: the requests of this way wait for approval.
    :param by_role: the answer when the account's role may not use the policy any more; ``None``: as before, since
        nothing is requested, or somebody else answers for it.
    """

    prepare: Callable[[Person], Attempt]
    good: str
    refused: str
    by_certificate: str | None = None
    by_name: bool = False
    erased: str | None = None
    manual: bool = False
    by_role: str | None = None


WAYS: dict[str, Way] = {
    "EST simpleenroll by certificate": Way(_est_by_certificate("simpleenroll"), "200", "403", "403", by_role="403"),
    "EST simplereenroll by certificate": Way(_est_by_certificate("simplereenroll"), "200", "403", "403", by_role="403"),
    "EST serverkeygen by certificate": Way(_est_by_certificate("serverkeygen"), "200", "403", "403", by_role="403"),
    "EST simpleenroll by password": Way(_est_by_password("simpleenroll"), "200", "401", by_name=True, by_role="403"),
    "EST serverkeygen by password": Way(_est_by_password("serverkeygen"), "200", "401", by_name=True, by_role="403"),
    "EST by challenge password": Way(_est_by_challenge, "200", "401", by_role="403"),
    "EST by another account with the challenge password": Way(
        _est_by_challenge_of_another, "200", "400", by_role="403"
    ),
    "EST repeated": Way(_est_repeated, "200", "403"),
    "EST polled by challenge password": Way(_est_polled_by_challenge, "202", "403", manual=True),
    "EST polled by certificate": Way(_est_polled_by_certificate, "202", "403", "403", manual=True, by_role="403"),
    "SCEP PKCSReq by challenge password": Way(_scep_by_challenge, "SUCCESS", "badRequest", by_role="badRequest"),
    "SCEP PKCSReq repeated": Way(_scep_repeated, "SUCCESS", "badRequest"),
    "SCEP PKCSReq by certificate": Way(
        _scep_renewed("PKCSReq"), "SUCCESS", "badRequest", "badRequest", by_role="badRequest"
    ),
    "SCEP RenewalReq": Way(_scep_renewed("RenewalReq"), "SUCCESS", "badRequest", "badRequest", by_role="badRequest"),
    "SCEP CertPoll": Way(_scep_polled, "PENDING", "badRequest", manual=True),
    "approval of a challenge password's request": Way(_approved, "200", "409", manual=True),
    "approval of a certificate's request": Way(_approved_for_certificate, "200", "409", "200", manual=True),
    "REST by token": Way(_rest_by_token, "201", "401", by_role="403"),
    "REST by certificate": Way(_rest_by_certificate, "201", "403", "403", erased="401", by_role="403"),
    "REST of an administrator for the owner": Way(_rest_for_owner, "201", "403"),
    "page by session": Way(_page_by_session, "200", "302"),
    "sign-in by password": Way(_page_by_password, "303", "401", by_name=True),
    "sign-in by certificate": Way(_page_by_certificate, "303", "403", "403"),
    "REST by certificate bound to another account": Way(_to_another(_rest_by_certificate), "201", "403", "403"),
    "sign-in by certificate bound to another account": Way(_to_another(_page_by_certificate), "303", "403", "403"),
}
