"""EST at a real server: people and policies are made by another process, as an administrator's commands would."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pikachu.auth.authenticator import account_principal
from pikachu.core.model.certificates import CertificateRecord, RevocationReason
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, AccountState, Principal, Role
from pikachu.core.model.policies import Policy
from pikachu.core.model.requests import RequestRecord
from tests.support.deferreds import result_of
from tests.support.est import ADMIN, PASSWORD, PREFIX
from tests.support.lint import check_certificate
from tests.support.pki import Identity, PrivateKey
from tests.support.server import Server, running_server


@dataclass
class LiveEST:
    """A server, with the account ``alice``."""

    server: Server

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.server.folder

    def url(self, listener: str = "https") -> str:
        """The base of a listener's URLs."""
        return f"https://localhost:{self.server.ports[listener]}"

    def path(self, operation: str, label: str | None = None) -> str:
        """The path of an operation."""
        return f"{PREFIX}/{operation}" if label is None else f"{PREFIX}/{label}/{operation}"

    def account(self, username: str) -> Principal:
        """A new account with the usual password."""
        with self.server.application() as app:
            made = app.accounts.add_user(
                SYSTEM, username, f"{username}@example.com", Role.USER, AccountState.ACTIVE, PASSWORD
            )
            return account_principal(result_of(made), "127.0.0.1")

    def challenge(self, owner: Principal) -> str:
        """The text of a new challenge password."""
        with self.server.application() as app:
            return result_of(app.challenge_passwords.create(owner))[1]

    def policy(self, name: str, **values: Any) -> Policy:
        """A new policy for EST with the default extensions."""
        with self.server.application() as app:
            policy = replace(replace(app.policies.default, name=name, use_for_est=True, days=30), **values)
            event = Event("create", "policy", name, "test")
            return result_of(app.store.add_policy(policy, event, app.authority.now()))

    def approvals(self) -> list[RequestRecord]:
        """The requests that wait."""
        with self.server.application() as app:
            query = ListQuery(limit=1000, filters={"state": "pending"})
            return list(result_of(app.inventory.approvals(ADMIN, query)).items)

    def approve(self, request_id: int) -> CertificateRecord:
        """As an administrator."""
        with self.server.application() as app:
            record = result_of(app.registration.approve(ADMIN, request_id))
            assert record is not None
            return record

    def reject(self, request_id: int) -> None:
        """As an administrator."""
        with self.server.application() as app:
            result_of(app.registration.reject(ADMIN, request_id, "no"))

    def revoke(self, serial: int) -> None:
        """As an administrator."""
        with self.server.application() as app:
            result_of(app.authority.revoke(serial, RevocationReason.UNSPECIFIED, ADMIN))

    def record(self, serial: int) -> CertificateRecord:
        """Return the stored record of a certificate."""
        with self.server.application() as app:
            return result_of(app.store.certificate_by_serial(serial))

    def check(self, certificate: x509.Certificate, ca: str = "ec") -> None:
        """Fail the test unless the CA issued it, it is without fault, and it is stored."""
        files = self.server.files
        der = certificate.public_bytes(Encoding.DER)
        check_certificate(der, [files.issuers[ca].der, files.root.der])
        assert self.record(certificate.serial_number).der == der

    def identity(self, key: PrivateKey, certificate: x509.Certificate, ca: str = "ec") -> Identity:
        """A client certificate that the server has issued."""
        return Identity(key, certificate, self.server.files.issuers[ca])


@contextmanager
def live_est(folder: Path, **settings: Any) -> Iterator[LiveEST]:
    """A server that runs; *settings* as ``tests.support.server.running_server`` takes them."""
    changes = {("HTTPS", "request_client_certificate"): "true", **settings.pop("changes", {})}
    with running_server(folder, changes=changes, **settings) as server:
        est = LiveEST(server)
        est.account("alice")
        yield est


def run(*command: str | Path, cwd: Path, code: int | None = 0, env: dict[str, str] | None = None) -> str:
    """The output of a program; *code* is the exit code that it must have, ``None`` any but 0."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    said = f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    assert done.returncode != 0 if code is None else done.returncode == code, said
    return done.stdout + done.stderr
