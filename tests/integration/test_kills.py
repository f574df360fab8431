"""Kills under load lose nothing that was acknowledged (CRT-5, CHP-2, EST-2, docs/issuance.md)."""

from __future__ import annotations

import random
import re
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from pikachu.cli.session import done, every, operator
from pikachu.core.errors import PikachuError
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.list_queries import ListQuery
from pikachu.x509.crl import parse_crl_summary
from tests.support.fleet import (
    FAILURES,
    Acknowledged,
    Device,
    Records,
    basic,
    new_account,
    new_challenges,
    new_identity,
    ocsp_status,
)
from tests.support.server import Server, end, make_server, wait_until

#: The soak has more.
KILLS = 5
SOAK_KILLS = 50
PASSWORD = "a password of the fleet 4711"
_NEVER_COMPLETED = re.compile(r"The intent ([0-9a-f]+) was never completed")


class Operator(threading.Thread):
    """An operator that revokes devices' certificates, as another process would.

    :ivar revoked: serials whose revocation was acknowledged.
    """

    def __init__(self, server: Server, records: Records) -> None:
        super().__init__(name="operator", daemon=True)
        self._server = server
        self._records = records
        self._random = random.Random("operator")
        self.revoked: set[int] = set()

    def run(self) -> None:
        """Revoke one at a time."""
        try:
            with self._server.application() as app:
                while not self._records.stop.wait(0.1):
                    if not self._records.acknowledged:
                        continue
                    serial = self._random.choice(self._records.acknowledged).serial
                    done(app.authority.revoke(serial, RevocationReason.KEY_COMPROMISE, operator()))
                    self.revoked.add(serial)
        except BaseException as error:
            self._records.problems.append(f"operator: {error!r}")
            raise


class Reader(threading.Thread):
    """Reads the CRL all the time.

    :ivar numbers: in the order in which they were seen.
    """

    def __init__(self, server: Server, records: Records) -> None:
        super().__init__(name="reader", daemon=True)
        self._server = server
        self._records = records
        self.numbers: list[int] = []
        self._entries = 0

    def run(self) -> None:
        """A look ten times a second."""
        try:
            while not self._records.stop.wait(0.1):
                try:
                    answer = self._server.ask("http", "/crl/ec.crl")
                except FAILURES:
                    continue
                if answer.status == 503:
                    continue
                assert answer.status == 200, answer.text
                summary = parse_crl_summary(answer.body)
                assert summary.number is not None
                assert summary.entries >= self._entries, "a revocation vanished"
                self._entries = summary.entries
                self.numbers.append(summary.number)
        except BaseException as error:
            self._records.problems.append(f"reader: {error!r}")
            raise


def see_work(records: Records) -> None:
    """Wait until some more enrollments were acknowledged, however slow the machine is."""
    enough = len(records.acknowledged) + 8
    wait_until(lambda: len(records.acknowledged) >= enough, "devices enroll")


def kill_again_and_again(server: Server, records: Records, kills: int) -> None:
    """Start and kill the server; some lives end while they begin."""
    chance = random.Random("kills")
    for _ in range(kills):
        server.launch()
        if chance.random() < 0.2:
            time.sleep(chance.uniform(0.2, 0.8))
        else:
            server.wait_ready()
            see_work(records)
            time.sleep(chance.uniform(0, 0.5))
        server.kill()


def crl_serials(server: Server) -> set[int]:
    """The serials on the CRLs of the running server, whose signatures are verified.

    An orphan may be the root's, which certifies its own OCSP responder when the server starts.
    """
    found: set[int] = set()
    for name, issuer in (("ec", server.files.issuers["ec"]), ("root", server.files.root)):
        crl = x509.load_der_x509_crl(server.ask("http", f"/crl/{name}.crl").body)
        assert crl.is_signature_valid(issuer.certificate.public_key())  # type: ignore[arg-type]
        found |= {entry.serial_number for entry in crl}
    return found


# A peer that dies between connect() and the TLS handshake makes ssl.SSLSocket raise before it would close itself.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.parametrize("kills", [KILLS, pytest.param(SOAK_KILLS, marks=pytest.mark.soak)])
def test_kills(tmp_path: Path, kills: int, record_property: Callable[[str, object], None]) -> None:
    """RUN-5's other side: the server is killed at any moment, and what was acknowledged stands."""
    server = make_server(tmp_path, changes={("CRL", "crl_delay"): "0.2s"})
    challenges = new_challenges(server, 700)
    unused = list(challenges)
    with server.application() as app:
        new_account(app, "fleet", PASSWORD)
    records = Records()
    try:
        identity = new_identity(server.start())
        server.kill()
        devices = [
            Device("challenged-a", records, server.client, challenges=unused, pause=0.1),
            Device("challenged-b", records, server.client, challenges=unused, pause=0.1),
            Device("basic", records, server.client, headers=basic("fleet", PASSWORD), pause=0.1),
            *(
                Device(f"certified-{letter}", records, lambda: server.client("trusted_https", identity))
                for letter in "abc"
            ),
        ]
        revoking, reading = Operator(server, records), Reader(server, records)
        for thread in (*devices, revoking, reading):
            thread.start()
        kill_again_and_again(server, records, kills)
        server.start()
        see_work(records)
        wait_until(lambda: revoking.revoked, "a revocation was acknowledged")
        records.stop.set()
        for thread in (*devices, revoking, reading):
            thread.join(60)
            assert not thread.is_alive(), thread.name
        assert records.problems == []
        assert len(records.acknowledged) > 4 * kills
        check_certificates(server, records.acknowledged)
        check_challenges(server, records.acknowledged, kills)
        revoked = revoking.revoked
        assert revoked
        orphans = revoke_orphans(server)
        wait_until(lambda: crl_serials(server) >= revoked | orphans, "the CRLs have every acknowledged revocation")
        assert reading.numbers == sorted(reading.numbers)
        check_ocsp(server, records.acknowledged, revoked)
        assert server.stop() == 0
        record_property("kills", kills)
        record_property("certificates", len(records.acknowledged))
        record_property("revocations", len(revoked))
        record_property("orphans", len(orphans))
        check_log(server, [PASSWORD, *challenges])
    finally:
        records.stop.set()
        end(server)


def check_certificates(server: Server, acknowledged: list[Acknowledged]) -> None:
    """Each is in the database, byte by byte; no serial was given twice; the audit chain holds."""
    serials = [one.serial for one in acknowledged]
    assert len(set(serials)) == len(serials)
    with server.application() as app:
        for one in acknowledged:
            assert done(app.store.certificate_by_serial(one.serial)).der == one.der
        assert done(app.store.verify_events()) > len(acknowledged)
    with closing(sqlite3.connect(server.folder / "pikachu.sqlite")) as database:
        (twice,) = database.execute("SELECT count(*) - count(DISTINCT serial) FROM certificates").fetchone()
        (check,) = database.execute("PRAGMA integrity_check").fetchone()
    assert twice == 0
    assert check == "ok"


def check_challenges(server: Server, acknowledged: list[Acknowledged], at_least: int) -> None:
    """CHP-2: each that was used was consumed by the certificate that its device has, and by no other."""
    spent = {one.challenge: one.serial for one in acknowledged if one.challenge}
    assert len(spent) > at_least
    with server.application() as app:
        for challenge in every(lambda query: app.challenge_passwords.list(operator(), query), ListQuery(limit=500)):
            text = done(app.challenge_passwords.reveal(operator(), challenge.id))
            if text in spent:
                assert challenge.consumed_serial == spent[text]
    with closing(sqlite3.connect(server.folder / "pikachu.sqlite")) as database:
        rows = database.execute(
            "SELECT challenge_id FROM requests WHERE challenge_id IS NOT NULL AND certificate_id IS NOT NULL"
        ).fetchall()
    assert len(rows) == len(set(rows))


def revoke_orphans(server: Server) -> set[int]:
    """Every intent that the log names has no certificate and can be revoked; their serials."""
    found = {int(text, 16) for text in _NEVER_COMPLETED.findall(server.log)}
    with server.application() as app:
        for serial in found:
            with pytest.raises(PikachuError):
                done(app.store.certificate_by_serial(serial))
            done(app.authority.revoke(serial, RevocationReason.UNSPECIFIED, operator()))
    return found


def check_ocsp(server: Server, acknowledged: list[Acknowledged], revoked: set[int]) -> None:
    """OCSP knows every one."""
    issuer = server.files.issuers["ec"].certificate
    with server.client("http") as client:
        for one in acknowledged:
            response = ocsp_status(client, x509.load_der_x509_certificate(one.der), issuer)
            expected = ocsp.OCSPCertStatus.REVOKED if one.serial in revoked else ocsp.OCSPCertStatus.GOOD
            assert response.certificate_status is expected


def check_log(server: Server, secrets: list[str]) -> None:
    """RUN-7: none of them is in the log or on the console."""
    text = server.log + server.console
    assert "Traceback" not in text
    assert [secret for secret in secrets if secret in text] == []
