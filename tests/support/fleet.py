"""Devices that enroll over EST in threads of their own, for as long as it takes, at a server that comes and goes."""

from __future__ import annotations

import base64
import http.client
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509 import ocsp

from pikachu.cli.session import done, operator
from pikachu.core.model.people import AccountState, Role
from pikachu.server.application import Application
from tests.support.pki import Identity, make_csr
from tests.support.server import Answer, Client, Server

EST = "/.well-known/est"
PKCS10 = {"Content-Type": "application/pkcs10"}
FAILURES = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class Acknowledged:
    """A certificate that a device was given.

    :ivar challenge: the challenge password that it cost.
    """

    der: bytes
    serial: int
    challenge: str | None = None


def basic(username: str, password: str) -> dict[str, str]:
    """The Authorization header."""
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


def certificate_of(answer: Answer) -> x509.Certificate:
    """The certificate in an EST answer."""
    (found,) = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.body))
    return found


def enroll(client: Client, csr: bytes, headers: Mapping[str, str] | None = None, label: str = "") -> Answer:
    """simpleenroll."""
    path = f"{EST}/{label}/simpleenroll" if label else f"{EST}/simpleenroll"
    body = base64.b64encode(csr)
    return client.ask(path, "POST", body, {**PKCS10, "Content-Transfer-Encoding": "base64", **(headers or {})})


def new_identity(
    server: Server, common_name: str = "device.example.com", headers: Mapping[str, str] | None = None
) -> Identity:
    """A client certificate that the server has issued for a challenge password of its own."""
    challenge = None if headers else new_challenges(server, 1)[0]
    key, csr = make_csr(subject=common_name, challenge=challenge)
    with server.client() as client:
        answer = enroll(client, csr, headers)
    assert answer.status == 200, answer.text
    return Identity(key, certificate_of(answer), next(iter(server.files.issuers.values())))


def new_challenges(server: Server, count: int) -> list[str]:
    """The texts of new challenge passwords, made by another process as far as the server can tell."""
    with server.application() as app:
        return [done(app.challenge_passwords.create(operator()))[1] for _ in range(count)]


def new_account(app: Application, username: str, password: str, role: Role = Role.USER) -> int:
    """The id of a new account."""
    made = app.accounts.add_user(operator(), username, f"{username}@example.com", role, AccountState.ACTIVE, password)
    return done(made).id


def ocsp_status(client: Client, certificate: x509.Certificate, issuer: x509.Certificate) -> ocsp.OCSPResponse:
    """The server's OCSP answer, of status *successful*."""
    request = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1()).build()
    body = request.public_bytes(Encoding.DER)
    answer = client.ask("/ocsp", "POST", body, {"Content-Type": "application/ocsp-request"})
    assert answer.status == 200
    response = ocsp.load_der_ocsp_response(answer.body)
    assert response.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
    return response


def on_crl(client: Client, serial: int) -> bool:
    """Whether there is a CRL of the EC CA that has it."""
    answer = client.ask("/crl/ec.crl")
    if answer.status != 200:
        return False
    return x509.load_der_x509_crl(answer.body).get_revoked_certificate_by_serial_number(serial) is not None


@dataclass
class Records:
    """Answers that devices received; shared by all devices.

    :ivar problems: answers that no device should ever get.
    """

    acknowledged: list[Acknowledged] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)


class Device(threading.Thread):
    """Enrolls again and again with new keys, and repeats what was not answered.

    :param challenges: each enrollment takes one off; the device ends when there is none.
    :param pause: the longest time between two enrollments, seconds.
    """

    def __init__(
        self,
        name: str,
        records: Records,
        connect: Callable[[], Client],
        *,
        headers: Mapping[str, str] | None = None,
        challenges: list[str] | None = None,
        pause: float = 0.02,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._records = records
        self._connect = connect
        self._headers = headers
        self._challenges = challenges
        self._pause = pause
        self._client: Client | None = None
        self._random = random.Random(name)

    def run(self) -> None:
        """Enroll until stopped, then complete the enrollment in progress."""
        try:
            number = 0
            while not self._records.stop.is_set():
                challenge = None
                if self._challenges is not None:
                    if not self._challenges:
                        break
                    challenge = self._challenges.pop()
                _, csr = make_csr(subject=f"{self.name}-{number}", challenge=challenge)
                self._enroll(csr, challenge)
                number += 1
                time.sleep(self._random.random() * self._pause)
        except BaseException as error:
            self._records.problems.append(f"{self.name}: {error!r}")
            raise
        finally:
            if self._client is not None:
                self._client.close()

    def _enroll(self, csr: bytes, challenge: str | None) -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                self._client = self._client or self._connect()
                answer = enroll(self._client, csr, self._headers)
            except FAILURES:
                if self._client is not None:
                    self._client.close()
                self._client = None
                time.sleep(0.05)
                continue
            if answer.status == 200:
                certificate = certificate_of(answer)
                acknowledged = Acknowledged(
                    certificate.public_bytes(Encoding.DER), certificate.serial_number, challenge
                )
                self._records.acknowledged.append(acknowledged)
                return
            if answer.status != 503:
                self._records.problems.append(f"{self.name}: {answer.status} {answer.text}")
                return
            time.sleep(0.2)
        self._records.problems.append(f"{self.name}: an enrollment did not end")
