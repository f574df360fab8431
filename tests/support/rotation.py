"""A running server whose issuing CA is rotated, and its clients of every protocol."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pikachu.auth.authenticator import account_principal
from pikachu.ca.rotation import Announcement
from pikachu.cli.session import done, operator
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.people import SYSTEM, AccountState, Role
from pikachu.x509.pem import pem
from tests.support.est import PASSWORD, PKCS10, PREFIX, basic, certificates_in
from tests.support.pki import Identity, make_csr
from tests.support.scep_client import csr, new_client
from tests.support.server import Answer, Server, running_server, wait_until

CA: Final = "rsa"


@dataclass
class RotatedServer:
    """A server with an RSA CA, and the account ``alice``, whose certificates its clients get.

    :ivar folder: for files of clients.
    """

    server: Server
    folder: Path
    token: str = ""
    number: int = field(default=0)

    # --- the CA -------------------------------------------------------------------------

    def get(self, path: str, listener: str = "http") -> bytes:
        """A download."""
        answer = self.server.ask(listener, path)
        assert answer.status == 200, answer
        return answer.body

    def current(self) -> x509.Certificate:
        """The certificate of the generation that signs."""
        return x509.load_der_x509_certificate(self.get(f"/ca/{CA}.cer"))

    def ca_capabilities(self) -> bytes:
        """Return the capabilities of GetCACaps."""
        return self.get("/scep?operation=GetCACaps", "scep")

    def est_certificates(self) -> list[x509.Certificate]:
        """Return the certificates of cacerts."""
        return certificates_in(self.get(f"{PREFIX}/cacerts", "https"))

    def announce(self) -> None:
        """Have another process announce the next generation, and wait until the server does."""
        self.server.run("ca", "rotate", CA)
        wait_until(lambda: b"GetNextCACert" in self.ca_capabilities(), "the next generation is announced")

    def switch_now(self) -> x509.Certificate:
        """Have another process switch, and wait until the server signs with the new generation; its certificate."""
        return self._switched(lambda: self.server.run("ca", "rotate", CA, "--now"))

    def switch_by_date(self) -> x509.Certificate:
        """Let the date of the announced switch come: the server switches by itself."""

        def move_date() -> None:
            with self.server.application() as app:
                files = app.generations.files(CA)
                assert files is not None
                files.announce(Announcement(datetime.now(UTC) + timedelta(seconds=1)))

        return self._switched(move_date)

    def _switched(self, switch: Callable[[], object]) -> x509.Certificate:
        before = self.current()
        switch()
        wait_until(lambda: self.current() != before, "the new generation signs")
        return self.current()

    # --- certificates -------------------------------------------------------------------

    def enroll(self, protocol: str) -> Identity:
        """A new certificate by ``EST``, ``SCEP`` or ``REST``, with its key."""
        self.number += 1
        enroll = {"EST": self._enroll_est, "SCEP": self._enroll_scep, "REST": self._enroll_rest}[protocol]
        return enroll(f"device {self.number}")

    def _enroll_est(self, common_name: str) -> Identity:
        key, request = make_csr(subject=common_name)
        answer = self.est_post("simpleenroll", request, headers=basic("alice"))
        return Identity(key, certificate_of(answer), None)

    def est_post(
        self,
        operation: str,
        request: bytes,
        *,
        headers: dict[str, str] | None = None,
        listener: str = "https",
        identity: Identity | None = None,
    ) -> Answer:
        """An EST operation on a connection of its own."""
        fields = {**PKCS10, **(headers or {})}
        return self.server.ask(listener, f"{PREFIX}/{operation}", "POST", base64.b64encode(request), fields, identity)

    def _enroll_scep(self, common_name: str) -> Identity:
        with self.server.application() as app:
            alice = done(app.accounts.find(operator(), "alice"))
            challenge = done(app.challenge_passwords.create(account_principal(alice, "127.0.0.1")))[1]
        client = new_client(self.get("/scep?operation=GetCACert", "scep"))
        message = client.pkcs_req(csr(client.key, common_name, challenge))
        answer = self.server.ask("scep", "/scep?operation=PKIOperation", "POST", message)
        reply = client.read(answer.body, client.recipient)
        assert reply.status == "0", reply.fail_info_text
        return Identity(client.key, x509.load_der_x509_certificate(reply.certificates[0]), None)

    def _enroll_rest(self, common_name: str) -> Identity:
        key, request = make_csr(subject=common_name)
        body = json.dumps({"csr": pem("CERTIFICATE REQUEST", request)}).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        answer = self.server.ask("https", "/api/v1/certificates", "POST", body, headers)
        assert answer.status == 201, answer
        return Identity(key, x509.load_pem_x509_certificate(json.loads(answer.body)["pem"].encode()), None)

    def revoke(self, identity: Identity) -> None:
        """Have another process revoke a certificate, and wait until the CRL of its issuer lists it."""
        with self.server.application() as app:
            serial = identity.certificate.serial_number
            done(app.authority.revoke(serial, RevocationReason.SUPERSEDED, operator()))
        wait_until(lambda: self.is_listed(identity), "the CRL lists the certificate")

    def is_listed(self, identity: Identity) -> bool:
        """Whether the CRL that a certificate's CDP would name lists it."""
        listed = x509.load_der_x509_crl(self.get(f"/crl/{authority_key_of(identity.certificate)}.crl"))
        return listed.get_revoked_certificate_by_serial_number(identity.certificate.serial_number) is not None

    def ocsp_status(self, identity: Identity, issuer: x509.Certificate) -> str:
        """Return the status from ``openssl ocsp``: ``good``, ``revoked`` or ``unknown``; the signature must verify."""
        certificate = self.write(identity.certificate)
        text = run(
            *("openssl", "ocsp", "-issuer", self.write(issuer), "-cert", certificate),
            *("-CAfile", self.server.folder / "root.crt", "-verify_other", self.write(issuer)),
            *("-url", f"http://127.0.0.1:{self.server.ports['http']}/ocsp"),
        )
        assert "Response verify OK" in text, text
        (line,) = [line for line in text.splitlines() if line.startswith(f"{certificate}: ")]
        return line.rpartition(" ")[2]

    def trusted_port_accepts(self, identity: Identity) -> bool:
        """Whether a client that sends its certificate alone gets through."""
        return self.server.ask("trusted_https", "/healthz", identity=identity).status == 200

    def write(self, certificate: x509.Certificate) -> Path:
        """A PEM file of a certificate."""
        path = self.folder / f"{certificate.serial_number:x}.crt"
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
        return path


@contextmanager
def rotated_server(folder: Path, **settings: Any) -> Iterator[RotatedServer]:
    """A running server; *settings* as ``tests.support.server.running_server`` takes them."""
    with running_server(folder / "server", ("rsa2048",), **settings) as server:
        made = RotatedServer(server, folder)
        with server.application() as app:
            account = done(
                app.accounts.add_user(SYSTEM, "alice", "alice@example.com", Role.USER, AccountState.ACTIVE, PASSWORD)
            )
            made.token = done(app.tokens.create(SYSTEM, account.id, "test"))[1]
        yield made


def run(*command: str | Path) -> str:
    """The output of a program that has to succeed, on either stream."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def certificate_of(answer: Answer) -> x509.Certificate:
    """The certificate in an EST answer."""
    assert answer.status == 200, answer
    (found,) = certificates_in(answer.body)
    return found


def key_identifier_of(certificate: x509.Certificate) -> str:
    """Its subjectKeyIdentifier, hex."""
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()


def authority_key_of(certificate: x509.Certificate) -> str:
    """Its authorityKeyIdentifier, hex."""
    identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert identifier is not None
    return identifier.hex()
