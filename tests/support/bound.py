"""People with client certificates at a real server (API-1)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509

from pikachu.core.model.account_objects import NewAccountCertificate
from pikachu.core.model.events import Event
from pikachu.core.model.people import SYSTEM, AccountState, Role
from pikachu.x509.certificate import parse_certificate
from pikachu.x509.pem import pem
from tests.support.deferreds import result_of
from tests.support.pki import Identity, make_csr
from tests.support.server import Answer, Server, running_server
from tests.support.stack import Changes

SERVERS_ONLY = "[ v3_ext ]\nextendedKeyUsage = serverAuth\n"


@dataclass
class Bound:
    """A server that takes client certificates on both HTTPS ports, with alice, bob and the admin root.

    :ivar ids: of accounts, by name; their passwords are ``password of NAME``.
    :ivar tokens: of accounts, by name.
    """

    server: Server
    ids: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    _slot: int = 60

    def rest(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        who: str | None = None,
        identity: Identity | None = None,
        listener: str = "https",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One call with a token, a client certificate, both or none."""
        fields = dict(headers or {})
        if who is not None:
            fields["Authorization"] = f"Bearer {self.tokens[who]}"
        octets = None
        if body is not None:
            fields["Content-Type"] = "application/json"
            octets = json.dumps(body).encode()
        return self.server.ask(listener, f"/api/v1{path}", method, octets, fields, identity)

    def good(self, method: str, path: str, body: object = None, **more: Any) -> Any:
        """The JSON of an answer that must be a success."""
        answer = self.rest(method, path, body, **more)
        assert answer.status < 300, answer
        return json.loads(answer.body) if answer.body else None

    def add(self, name: str, role: Role = Role.USER) -> int:
        """An account with a token."""
        with self.server.application() as app:
            adding = app.accounts.add_user(
                SYSTEM, name, f"{name}@example.com", role, AccountState.ACTIVE, f"password of {name}"
            )
            self.ids[name] = result_of(adding).id
            self.tokens[name] = result_of(app.tokens.create(SYSTEM, self.ids[name], "test"))[1]
        return self.ids[name]

    def issue(self, who: str, policy: str | None = None) -> tuple[Identity, int]:
        """A new certificate of somebody's, with its id."""
        self._slot += 1
        key, csr = make_csr("p256", f"{who}'s browser", slot=self._slot)
        body = {"csr": pem("CERTIFICATE REQUEST", csr), **({} if policy is None else {"policy": policy})}
        made = self.good("POST", "/certificates", body, who=who)
        certificate = x509.load_pem_x509_certificate(made["pem"].encode())
        return Identity(key, certificate), int(made["id"])

    def bind(self, who: str) -> tuple[Identity, int]:
        """A new certificate that signs somebody in, with its id."""
        identity, number = self.issue(who)
        self.good("POST", "/account-certificates", {"certificate_id": number}, who=who)
        return identity, number

    def bind_anyway(self, who: str, identity: Identity) -> None:
        """As if the rules had let it be bound."""
        leaf = parse_certificate(identity.der)
        digest, event = hashlib.sha256(leaf.der).digest(), Event("bind certificate", "user", who, "test")
        with self.server.application() as app:
            now = app.authority.now()
            result_of(
                app.store.bind_certificate(
                    NewAccountCertificate(self.ids[who], digest, "CN=x", leaf.serial, leaf.not_after), event, now
                )
            )

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The newest events of that type."""
        path = f"/events?limit=5&type={kind.replace(' ', '%20')}"
        found: list[dict[str, Any]] = self.good("GET", path, who="root")["items"]
        return found


@contextmanager
def bound_server(folder: Path, changes: Changes | None = None) -> Iterator[Bound]:
    """It runs."""
    with running_server(folder, changes={("HTTPS", "request_client_certificate"): "true", **(changes or {})}) as server:
        found = Bound(server)
        for name, role in (("alice", Role.USER), ("bob", Role.USER), ("root", Role.ADMIN)):
            found.add(name, role)
        yield found
