"""A hundred at once, other processes, and guests who behave badly (CHP-2, CRT-5, RUN-6, RUN-7)."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from pikachu.cli.session import done, every, operator
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.list_queries import ListQuery
from tests.support import scep_client
from tests.support.fleet import (
    basic,
    certificate_of,
    enroll,
    new_account,
    new_challenges,
    new_identity,
    ocsp_status,
    on_crl,
)
from tests.support.pki import make_csr
from tests.support.server import DEADLINE, Client, Server, running_server, wait_until

PARALLEL = 100
SUCCESS = "0"
PASSWORD = "a wrong password 0815"


def at_once(works: Sequence[Callable[[], object]]) -> list[object]:
    """Run all of them, each in a thread of its own, from the same moment; their results."""
    results: list[object] = []
    ready = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        try:
            ready.wait(DEADLINE)
            results.append(work())
        except BaseException as error:
            results.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results


def est_work(server: Server, stack: contextlib.ExitStack, number: int, challenge: str) -> Callable[[], object]:
    """An enrollment on a connection that is open already; its HTTP status."""
    client = stack.enter_context(server.client())
    client.connection.connect()
    _, csr = make_csr(subject=f"est-{number}", challenge=challenge)
    return lambda: f"EST {enroll(client, csr).status}"


def scep_work(server: Server, stack: contextlib.ExitStack, number: int, challenge: str) -> Callable[[], object]:
    """A PKCSReq of a transaction of its own; its pkiStatus."""
    connection = stack.enter_context(server.client("scep"))
    recipient = server.files.issuers["rsa"].der
    client = scep_client.new_client(recipient)
    message = client.pkcs_req(
        scep_client.csr(client.key, f"scep-{number}", challenge), transaction_id=f"transaction-{number}"
    )
    connection.connection.connect()

    def work() -> object:
        answer = connection.ask("/scep?operation=PKIOperation", "POST", message)
        assert answer.status == 200, answer.text
        return f"SCEP {client.read(answer.body, recipient).status}"

    return work


@pytest.mark.parametrize("protocols", [(est_work,), (scep_work,), (est_work, scep_work)], ids=["EST", "SCEP", "both"])
def test_one_password(tmp_path: Path, protocols: Sequence[Callable[..., Callable[[], object]]]) -> None:
    """CHP-2: one challenge password gives one certificate, however many clients use it at the same time."""
    with running_server(tmp_path, ("p256", "rsa2048")) as server, contextlib.ExitStack() as stack:
        challenge = new_challenges(server, 1)[0]
        kinds = itertools.cycle(protocols)
        results = Counter(
            str(result)
            for result in at_once([next(kinds)(server, stack, number, challenge) for number in range(PARALLEL)])
        )
        issued = results["EST 200"] + results[f"SCEP {SUCCESS}"]
        assert issued == 1, results
        assert set(results) <= {"EST 200", "EST 401", "EST 409", "EST 429", f"SCEP {SUCCESS}", "SCEP 2"}, results
        with server.application() as app:
            made = every(lambda query: app.store.certificates(query, app.authority.now()), ListQuery())
            (certificate,) = [one for one in made if one.method.value in ("EST", "SCEP")]
            (consumed,) = every(lambda query: app.challenge_passwords.list(operator(), query), ListQuery())
            assert consumed.consumed_serial == certificate.serial
            done(app.store.verify_events())
        assert server.stop() == 0
        assert challenge not in server.log + server.console
        assert "Traceback" not in server.log


# --- other processes ------------------------------------------------------------------------


def status_of(client: Client, certificate: x509.Certificate, server: Server) -> ocsp.OCSPCertStatus:
    """Return the OCSP status."""
    issuer = server.files.issuers["ec"].certificate
    return ocsp_status(client, certificate, issuer).certificate_status


def test_other_processes(tmp_path: Path) -> None:
    """Another process's revocation or release shows in the running server's answers within a second."""
    with running_server(tmp_path, changes={("CRL", "crl_delay"): "0.2s"}) as server, server.client("http") as client:
        identity = new_identity(server)
        certificate, serial = identity.certificate, identity.certificate.serial_number
        assert status_of(client, certificate, server) is ocsp.OCSPCertStatus.GOOD
        wait_until(lambda: client.ask("/crl/ec.crl").status == 200, "there is a CRL")
        with server.application() as app:
            commanded = time.monotonic()
            done(app.authority.revoke(serial, RevocationReason.CERTIFICATE_HOLD, operator()))
            began = time.monotonic()
            wait_until(lambda: status_of(client, certificate, server) is ocsp.OCSPCertStatus.REVOKED, "OCSP knows it")
            known = time.monotonic() - began
            wait_until(lambda: on_crl(client, serial), "the CRL has it")
            # On a busy machine, as much longer as the revocation itself took.
            assert known < max(5, 20 * (began - commanded))
            assert server.ask("trusted_https", "/healthz", identity=identity).status == 200
            _, csr = make_csr(subject="other")
            with server.client("trusted_https", identity) as trusted:
                assert enroll(trusted, csr).status == 403
            done(app.authority.release(serial, operator()))
        wait_until(
            lambda: status_of(client, certificate, server) is ocsp.OCSPCertStatus.GOOD, "OCSP knows of the release"
        )
        wait_until(lambda: not on_crl(client, serial), "the CRL is without it")
        server.run("revoke", f"{serial:x}", "--reason", "keyCompromise")
        wait_until(lambda: status_of(client, certificate, server) is ocsp.OCSPCertStatus.REVOKED, "OCSP knows it again")
        wait_until(lambda: on_crl(client, serial), "the CRL has it again")
        assert server.stop() == 0


def test_many_changes_of_others(tmp_path: Path) -> None:
    """More changes at once than are read at a time."""
    with running_server(tmp_path, changes={("CRL", "crl_delay"): "0.2s"}) as server, server.client("http") as client:
        with server.application() as app:
            new_account(app, "many", PASSWORD)
        made = []
        with server.client() as https:
            for number in range(20):
                answer = enroll(https, make_csr(subject=f"many-{number}")[1], basic("many", PASSWORD))
                assert answer.status == 200, answer.text
                made.append(certificate_of(answer))
        for certificate in made:
            assert status_of(client, certificate, server) is ocsp.OCSPCertStatus.GOOD
        serials = [certificate.serial_number for certificate in made]
        with server.application() as app:
            for serial in serials * 30:
                done(app.authority.revoke(serial, RevocationReason.CERTIFICATE_HOLD, operator()))
                done(app.authority.release(serial, operator()))
            for serial in serials:
                done(app.authority.revoke(serial, RevocationReason.SUPERSEDED, operator()))
        for certificate in made:
            wait_until(
                lambda certificate=certificate: (  # type: ignore[misc]
                    status_of(client, certificate, server) is ocsp.OCSPCertStatus.REVOKED
                ),
                "OCSP knows it",
            )
        wait_until(lambda: all(on_crl(client, serial) for serial in serials), "the CRL has all")
        assert server.stop() == 0


# --- guests who behave badly ----------------------------------------------------------------


def misbehave(server: Server, number: int) -> None:
    """One connection of a guest who behaves badly."""
    chance = random.Random(number)
    port = server.ports[chance.choice(list(server.ports))]
    garbage = chance.randbytes(chance.randrange(1, 2000))
    sent = chance.choice(
        [
            b"",
            garbage,
            b"GET /" + garbage,
            b"GET / HTTP/1.1\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n" + garbage,
            b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n" + garbage,
            b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            b"POST /scep?operation=PKIOperation HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n" + garbage,
            b"POST /ocsp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n" + garbage,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + garbage,
            b"\x16\x03\x01\x00\x05" + garbage,
            b"\x80\x2e\x01\x00\x02" + garbage,
        ]
    )
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), DEADLINE) as stream:
        stream.settimeout(0.5)
        stream.sendall(sent)
        ending = chance.randrange(4)
        if ending == 0:
            # Closing resets the connection.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif ending == 1:
            stream.shutdown(socket.SHUT_WR)
            stream.recv(65536)
        elif ending == 2:
            stream.settimeout(0.02)
            stream.recv(10)


@pytest.mark.slow
@pytest.mark.parametrize("connections", [500, pytest.param(2000, marks=pytest.mark.soak)])
def test_hostile_connections(tmp_path: Path, connections: int) -> None:
    """RUN-6: so many bad connections leave a server that answers, no larger than before, and no traceback."""
    with running_server(tmp_path) as server:
        identity = new_identity(server)
        process = psutil.Process(server.running.pid)

        def batch(first: int, count: int) -> None:
            for start in range(first, first + count, 8):
                numbers = range(start, min(start + 8, first + count))
                threads = [threading.Thread(target=misbehave, args=(server, number)) for number in numbers]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(DEADLINE)

        batch(0, 200)
        memory = server.memory()
        batch(1000, connections - 200)
        for listener in ("http", "https", "trusted_https"):
            client = identity if listener == "trusted_https" else None
            assert server.ask(listener, "/healthz", identity=client).status == 200
        assert server.memory() - memory < 40 * 1024 * 1024
        wait_until(lambda: process.num_fds() < 120, "the connections are gone", 90)
        assert server.stop() == 0
        assert "Traceback" not in server.log
        assert "internal error" not in server.log


def test_idle_connections(tmp_path: Path) -> None:
    """RUN-6: five hundred who say nothing don't keep others from being served, nor the server from its end."""
    with (
        running_server(tmp_path, changes={("DEFAULT", "shutdown_timeout"): "2s"}) as server,
        contextlib.ExitStack() as stack,
    ):
        for number in range(500):
            port = server.ports[("http", "https")[number % 2]]
            stack.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE))
        assert server.ask("http", "/healthz").status == 200
        assert server.ask("https", "/healthz").status == 200
        assert server.stop() == 0


# --- what the log must not have -------------------------------------------------------------


def test_no_secret_in_the_log(tmp_path: Path) -> None:
    """RUN-7: at level TRACE, whatever fails: no password, challenge, token, key or SECRET_KEY."""
    with running_server(tmp_path, ("p256", "rsa2048"), changes={("LOGGING", "log_level"): "TRACE"}) as server:
        good, unused = new_challenges(server, 2)
        wrong = "0123456789ABCDEF0123456789ABCDEF"
        with server.application() as app:
            new_account(app, "careful", PASSWORD)
        with server.client() as client, contextlib.ExitStack() as stack:
            assert enroll(client, make_csr(challenge=good)[1]).status == 200
            assert enroll(client, make_csr(challenge=good)[1]).status == 401
            assert enroll(client, make_csr(challenge=wrong)[1]).status == 401
            assert enroll(client, make_csr()[1], basic("careful", PASSWORD)).status == 200
            assert enroll(client, make_csr()[1], basic("careful", PASSWORD + "!")).status == 401
            assert enroll(client, b"garbage", basic("careful", PASSWORD)).status == 400
            bearer = {"Authorization": "Bearer pika_thisisnotatokenatall1234567890"}
            assert client.ask("/api/v1/certificates", headers=bearer).status == 401
            assert client.ask(f"/expired?password={PASSWORD.replace(' ', '+')}").status in (200, 400)
            assert scep_work(server, stack, 1, unused)() == f"SCEP {SUCCESS}"
            assert scep_work(server, stack, 2, wrong)() == "SCEP 2"
        assert server.stop() == 0
        text = server.log + server.console
        secrets = [good, unused, wrong, PASSWORD, PASSWORD.replace(" ", "+"), "thisisnotatoken"]
        secrets += [basic("careful", PASSWORD)["Authorization"], (server.folder / "secret_key").read_text().strip()]
        assert [secret for secret in secrets if secret in text] == []
        assert "PRIVATE KEY" not in text
        assert " 401 " in text
