# mypy: allow-untyped-calls
"""EST in memory: a whole core behind the EST resource, with people, policies and TLS clients."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.web.resource import Resource

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL, crypto

from pikachu.auth.authenticator import account_principal
from pikachu.core.model.certificates import CertificateRecord
from pikachu.core.model.events import Event, EventRecord
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, AccountState, Principal, PrincipalKind, Role, Scope
from pikachu.core.model.policies import Policy
from pikachu.core.model.requests import RequestRecord
from pikachu.http.peer import EXPORTER_LABEL
from pikachu.http.request import Limits, PathRule, Site
from pikachu.http.resources import NotFoundResource
from pikachu.http.tree import Tree
from pikachu.protocols.est.resource import ESTResource
from pikachu.server.listener_tls import tls_source
from pikachu.server.listeners import ClientCertificates, TLSContextSource
from pikachu.x509.certificate import EXTENDED_KEY_USAGE, SUBJECT_ALTERNATIVE_NAME
from pikachu.x509.extension import Extension
from tests.support.connections import TLS
from tests.support.deferreds import result_of
from tests.support.lint import check_certificate
from tests.support.pki import Identity, PrivateKey, general_name, make_key
from tests.support.stack import Response, Stack, ask, build_core

PREFIX = "/.well-known/est"
PASSWORD = "correct horse"
CERTS_ONLY = "application/pkcs7-mime; smime-type=certs-only"
ADMIN = Principal(PrincipalKind.ACCOUNT, "admin", role=Role.ADMIN, scopes=frozenset(Scope))
PKCS10 = {"Content-Type": "application/pkcs10"}


def est_site(stack: Stack, wrapping: str = "auto") -> Site:
    """Return the EST site of the server's HTTPS listeners."""
    tree, known = Tree(NotFoundResource()), Resource()
    known.putChild(b"est", ESTResource(stack.app.est, stack.app.pools.server_keys, wrapping))
    tree.putChild(b".well-known", known)
    return stack.site(tree, limits=Limits(rules=(PathRule(b"/.well-known/est/", 64 * 1024),)))


def basic(username: str, password: str = PASSWORD) -> dict[str, str]:
    """The Authorization header."""
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


def path(operation: str, label: str | None = None) -> str:
    """The path of an operation."""
    return f"{PREFIX}/{operation}" if label is None else f"{PREFIX}/{quote(label, safe='')}/{operation}"


def certificates_in(body: bytes) -> list[x509.Certificate]:
    """The certificates of an answer's body, base64 or DER."""
    return list(pkcs7.load_der_pkcs7_certificates(body if body[:1] == b"\x30" else base64.b64decode(body)))


@dataclass
class EST:
    """A client's and an administrator's view of one server.

    :ivar site: for connections in the clear, as if TLS had been taken off.
    """

    stack: Stack
    site: Site
    sources: dict[ClientCertificates, TLSContextSource] = field(default_factory=dict)

    # --- who and what is there ----------------------------------------------------------

    def account(self, username: str, role: Role = Role.USER, state: AccountState = AccountState.ACTIVE) -> Principal:
        """A new account."""
        made = self.stack.app.accounts.add_user(SYSTEM, username, f"{username}@example.com", role, state, PASSWORD)
        return account_principal(result_of(made), "192.0.2.7")

    def challenge(self, owner: Principal) -> str:
        """The text of a new challenge password."""
        return result_of(self.stack.app.challenge_passwords.create(owner))[1]

    def policy(self, name: str, **values: Any) -> Policy:
        """A new policy, by default a system one for EST that has the default extensions."""
        app = self.stack.app
        policy = replace(app.policies.default, name=name, use_for_est=True, days=30)
        policy = replace(policy, **values)
        made = result_of(app.store.add_policy(policy, Event("create", "policy", name, "test"), app.authority.now()))
        app.policies.forget()
        return made

    def events(self, kind: str) -> list[EventRecord]:
        """Return the recorded events, the oldest first."""
        query = ListQuery(limit=1000, sort="id", filters={"type": kind})
        return list(result_of(self.stack.app.store.events(query)).items)

    def approvals(self) -> list[RequestRecord]:
        """The requests that wait, the newest first."""
        query = ListQuery(limit=1000, filters={"state": "pending"})
        return list(result_of(self.stack.app.inventory.approvals(ADMIN, query)).items)

    def approve(self, request_id: int) -> CertificateRecord:
        """As an administrator."""
        record = result_of(self.stack.app.registration.approve(ADMIN, request_id))
        assert record is not None
        return record

    def reject(self, request_id: int) -> RequestRecord:
        """As an administrator."""
        return result_of(self.stack.app.registration.reject(ADMIN, request_id, "no"))

    def issued(self) -> int:
        """How many certificates there are."""
        page = result_of(self.stack.app.store.certificates(ListQuery(limit=1000), self.stack.app.authority.now()))
        return len(page.items)

    def identity(
        self,
        common_name: str = "device.example.com",
        *,
        sans: Iterable[str] = (),
        key_type: str = "p256",
        owner_id: int | None = None,
        purposes: Iterable[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CLIENT_AUTH,),
        days: int = 30,
        ca: str | None = None,
        key: PrivateKey | None = None,
    ) -> Identity:
        """A certificate that this CA has issued, with its key."""
        extensions = []
        if wanted := list(purposes):
            extensions.append(Extension(EXTENDED_KEY_USAGE, False, x509.ExtendedKeyUsage(wanted).public_bytes()))
        if names := [general_name(text) for text in sans]:
            value = x509.SubjectAlternativeName(names).public_bytes()
            extensions.append(Extension(SUBJECT_ALTERNATIVE_NAME, False, value))
        leaf = self.stack.issue(
            common_name,
            ca=ca,
            days=days,
            key=key or make_key(key_type, 1),
            owner_id=owner_id,
            extensions=extensions,
        )
        issuer = self.stack.files.issuers[self.stack.issuer(ca).name]
        return Identity(leaf.key, x509.load_der_x509_certificate(leaf.der), issuer)

    # --- requests -----------------------------------------------------------------------

    def send(
        self,
        target: str,
        method: str = "POST",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        tls: TLS | None = None,
    ) -> Response:
        """Any request, on a connection of its own or on *tls*."""
        fields = {**(PKCS10 if method == "POST" else {}), **(headers or {})}
        if tls is None:
            return ask(self.site, self.stack.clock, target, method, body, fields)
        fields = {"Host": "localhost", "Content-Length": str(len(body)), **fields}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        return Response.parse(tls.request("\r\n".join(lines).encode("latin-1") + body), head=method == "HEAD")

    def get(self, operation: str, label: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
        """GET of an operation."""
        return self.send(path(operation, label), "GET", headers=headers)

    def get_on(self, tls: TLS, operation: str, label: str | None = None) -> Response:
        """GET of an operation on a TLS connection."""
        return self.send(path(operation, label), "GET", tls=tls)

    def enroll(
        self,
        csr: bytes,
        operation: str = "simpleenroll",
        *,
        label: str | None = None,
        user: str | None = None,
        headers: Mapping[str, str] | None = None,
        tls: TLS | None = None,
    ) -> Response:
        """POST a DER request in base64.

        :param user: of HTTP Basic, with the usual password.
        """
        fields = {**(basic(user) if user else {}), **(headers or {})}
        return self.send(path(operation, label), "POST", base64.b64encode(csr), fields, tls)

    def certificate(self, response: Response, ca: str | None = None) -> x509.Certificate:
        """The one certificate of an answer, without fault."""
        assert response.status == 200, (response.status, response.body)
        assert response.headers["Content-Type"] == CERTS_ONLY
        (found,) = certificates_in(response.body)
        check_certificate(found.public_bytes(Encoding.DER), self.stack.issuer(ca).chain)
        return found

    # --- TLS ----------------------------------------------------------------------------

    def source(self, clients: ClientCertificates) -> TLSContextSource:
        """The TLS settings of a listener that wants that of its clients."""
        if clients not in self.sources:
            folder, app = self.stack.files.folder, self.stack.app
            self.sources[clients] = tls_source(
                app, "HTTPS", ("ssl_cert", folder / "https.crt"), ("ssl_key", folder / "https.key"), clients
            )
        return self.sources[clients]

    def connect(
        self,
        identity: Identity | None = None,
        *,
        clients: ClientCertificates = ClientCertificates.OPTIONAL,
        version: int = SSL.TLS1_3_VERSION,
        resume: TLS | None = None,
    ) -> TLS:
        """A TLS connection, with a client certificate and the chain below its root when *identity* is given.

        :param resume: whose session goes on.
        """
        context = client_context(identity, version) if resume is None else resume.client.get_context()
        session = None if resume is None else resume.client.get_session()
        tls = TLS(self.source(clients), self.site, context, self.stack.clock, session)
        tls.handshake()
        return tls


def client_context(identity: Identity | None, version: int) -> SSL.Context:
    """A client's TLS settings."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    if identity is not None:
        context.use_certificate(identity.certificate)
        with warnings.catch_warnings():
            # pyOpenSSL would rather have pyca's key objects, but does not take them for ML-DSA.
            warnings.simplefilter("ignore", DeprecationWarning)
            context.use_privatekey(crypto.load_privatekey(crypto.FILETYPE_PEM, identity.key_pem))
        above = identity.issuer
        while above is not None and above.issuer is not None:
            context.add_extra_chain_cert(above.certificate)
            above = above.issuer
    return context


def channel_binding(tls: TLS, *, resumed: bool = False) -> str:
    """Return the channel binding for the client's challengePassword (RFC 7030 section 3.5, RFC 9266)."""
    if tls.client.get_protocol_version_name() == "TLSv1.3":
        value: bytes | None = tls.client.export_keying_material(EXPORTER_LABEL, 32, b"")
    else:
        # tls-unique: the first Finished message; the server's in a resumed handshake.
        value = tls.client.get_peer_finished() if resumed else tls.client.get_finished()
    assert value is not None
    return base64.b64encode(value).decode("ascii")


@contextmanager
def est_server(folder: Path, **settings: Any) -> Iterator[EST]:
    """A server; *settings* as ``tests.support.stack.build_core`` takes them."""
    stack = build_core(folder, **settings)
    server = EST(stack, est_site(stack))
    try:
        yield server
    finally:
        # The test may have restarted it.
        server.stack.close()
