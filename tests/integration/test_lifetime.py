"""Start, stop and SIGHUP of the real process (RUN-1, RUN-4, RUN-5, RUN-7)."""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from pikachu.cli.session import done, operator
from pikachu.core.errors import UnknownSerial
from pikachu.core.model.certificates import RevocationReason
from tests.support.fleet import EST, FAILURES, basic, certificate_of, enroll, new_account, new_challenges
from tests.support.intents import begin_only
from tests.support.pki import make_ca, make_csr, make_leaf
from tests.support.server import (
    DEADLINE,
    Answer,
    Server,
    accepts,
    command,
    end,
    environment,
    make_server,
    running_server,
    wait_until,
)

PASSWORD = "a password of one who waits 42"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One that is not started."""
    server = make_server(tmp_path, changes={("DEFAULT", "shutdown_timeout"): "5s"}, forked=False)
    try:
        yield server
    finally:
        end(server)


class Held:
    """A request whose last octet is held back."""

    def __init__(self, server: Server, listener: str) -> None:
        raw = socket.create_connection(("127.0.0.1", server.ports[listener]), DEADLINE)
        self.stream: socket.socket = raw
        if listener == "https":
            self.stream = server.context().wrap_socket(raw, server_hostname="localhost")
        self.stream.sendall(b"POST /ocsp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n\x30")

    def finish(self) -> bytes:
        """Send it, and read until the server closes."""
        self.stream.sendall(b"\x00")
        answer = b""
        while data := self.stream.recv(65536):
            answer += data
        self.stream.close()
        return answer


# --- stop -----------------------------------------------------------------------------------


def test_stop_finishes_requests(server: Server) -> None:
    """RUN-5: requests in flight are answered, idle connections closed, new ones refused; exit code 0."""
    server.start()
    idle = server.client("https")
    assert idle.ask("/healthz").status == 200
    held = [Held(server, "http"), Held(server, "https")]
    time.sleep(0.1)
    process = server.running
    process.terminate()
    wait_until(lambda: not any(accepts(port) for port in server.ports.values()), "new connections are refused")
    with pytest.raises(FAILURES):
        idle.ask("/healthz")
    assert process.poll() is None
    for one in held:
        answer = one.finish()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nConnection: close\r\n" in answer
    assert process.wait(DEADLINE) == 0
    assert not (server.folder / "twistd.pid").exists()
    assert server.log.count("pikachu.server.service: Stopped\n") == 1
    assert "Traceback" not in server.log


def test_stop_waits_only_so_long(tmp_path: Path) -> None:
    """RUN-5: a client that never finishes delays the end by ``shutdown_timeout``; a second SIGTERM changes nothing."""
    with running_server(tmp_path, changes={("DEFAULT", "shutdown_timeout"): "1s"}, forked=False) as server:
        held = Held(server, "http")
        time.sleep(0.1)
        began = time.monotonic()
        server.running.terminate()
        time.sleep(0.3)
        assert server.stop() == 0
        assert time.monotonic() - began > 0.9
        held.stream.close()
        assert "did not finish in time" in server.log
        assert "Traceback" not in server.log


def test_stop_waits_for_no_idle_client(tmp_path: Path) -> None:
    """RUN-5: clients that keep a connection, and don't look at it, don't delay the end."""
    with running_server(tmp_path, forked=False) as server:
        with server.client("https") as secure, server.client("http") as plain:
            for client in (secure, plain):
                assert client.ask("/healthz").status == 200
            assert server.stop() == 0
        assert "did not finish in time" not in server.log
        assert "Traceback" not in server.log


def test_stop_finishes_enrollments(server: Server) -> None:
    """RUN-5: enrollments that wait for threads end with a certificate that is in the database, or were not accepted."""
    with server.application() as app:
        new_account(app, "waiting", PASSWORD)
    server.start()
    answers: list[Answer] = []
    refused: list[int] = []
    clients = [server.client() for _ in range(12)]
    for client in clients:
        client.connection.connect()
    ready = threading.Barrier(len(clients) + 1)

    def work(number: int) -> None:
        _, csr = make_csr(subject=f"waiting-{number}")
        ready.wait()
        try:
            answers.append(enroll(clients[number], csr, basic("waiting", PASSWORD)))
        except FAILURES:
            refused.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(clients))]
    for thread in threads:
        thread.start()
    ready.wait()
    time.sleep(0.05)
    assert server.stop() == 0
    for thread in threads:
        thread.join(DEADLINE)
    for client in clients:
        client.close()
    assert len(answers) + len(refused) == len(clients)
    given = [certificate_of(answer) for answer in answers if answer.status == 200]
    assert len(given) > 1
    with server.application() as app:
        for certificate in given:
            found = done(app.store.certificate_by_serial(certificate.serial_number))
            assert found.der == certificate.public_bytes(Encoding.DER)
        assert done(app.store.orphans(None, app.authority.now() + timedelta(days=1))) == []
    assert PASSWORD not in server.log


def test_stop_at_once(server: Server) -> None:
    """A server that is stopped while it begins leaves no error."""
    server.start()
    assert server.stop() == 0
    assert " ERROR " not in server.log
    assert "Traceback" not in server.log
    for _ in range(3):
        server.launch()
        wait_until(lambda: accepts(server.ports["http"]), "the first port is open")
        assert server.stop(signal.SIGINT) == 0
    assert "Traceback" not in server.console


# --- start ----------------------------------------------------------------------------------


def test_start_is_quick(server: Server) -> None:
    """A process that can't be missed for long: a restart takes no longer than a few commands, which load as much."""
    server.start()
    began = time.monotonic()
    server.run("crl")
    commanded = time.monotonic()
    assert server.stop() == 0
    server.start()
    assert time.monotonic() - commanded < 8 * (commanded - began)


def test_second_server(server: Server) -> None:
    """RUN-4: two servers on one SQLite database would take each other's intents for orphans."""
    server.start()
    config = server.folder / "second.ini"
    text = server.files.config.read_text()
    for port in server.ports.values():
        text = text.replace(f" = {port}\n", " = 0\n", 1)
    config.write_text(text)
    found = subprocess.run(
        command(config, "-n", "--pidfile="), cwd=server.folder, env=environment(), capture_output=True, timeout=DEADLINE
    )
    assert found.returncode == 1
    assert found.stdout == b""
    assert found.stderr.decode() == (
        f"twistd pikachu: [PATHS] db_path: another server works with {server.folder / 'pikachu.sqlite'}; "
        "stop it first\n"
    )
    wait_until(lambda: server.ask("http", "/readyz").status == 200, "it is ready")


def test_orphan(server: Server) -> None:
    """An intent that no certificate followed is listed at the start, and its serial can be revoked."""
    server.start()
    assert server.stop() == 0
    with server.application() as app:
        (node,) = done(app.store.nodes())
        serial = begin_only(app, node.process)
    server.start()
    line = f"The intent {serial:x} was never completed; `pikachu revoke {serial:x}` revokes it"
    wait_until(lambda: line in server.log, "the operator is told")
    with server.application() as app:
        with pytest.raises(UnknownSerial):
            done(app.store.certificate_by_serial(serial))
        done(app.authority.revoke(serial, RevocationReason.UNSPECIFIED, operator()))
    wait_until(lambda: serial in crl_serials(server), "it is on the CRL")
    assert server.stop() == 0
    server.start()
    assert server.log.count(f"The intent {serial:x}") == 1


def crl_serials(server: Server) -> set[int]:
    """Return the serial numbers on the published CRL; empty without a CRL."""
    answer = server.ask("http", "/crl/ec.crl")
    if answer.status != 200:
        return set()
    return {entry.serial_number for entry in x509.load_der_x509_crl(answer.body)}


# --- daemon ---------------------------------------------------------------------------------


@pytest.mark.parametrize("log_file", ["pikachu.log", ""], ids=["log file", "twistd's log"])
def test_daemon(tmp_path: Path, log_file: str) -> None:
    """RUN-1: ``twistd pikachu`` forks, issues, publishes, and ends by ``kill $(cat pid)``; twistd's options count."""
    server = make_server(tmp_path, changes={("LOGGING", "log_file"): log_file}, forked=False)
    challenge = new_challenges(server, 1)[0]
    pid_file = tmp_path / "run.pid"
    options = [f"--pidfile={pid_file}", "--umask=027"]
    found = subprocess.run(
        command(server.files.config, *options), cwd=tmp_path, env=environment(), capture_output=True, timeout=DEADLINE
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")
    pid = wait_until(lambda: pid_file.exists() and int(pid_file.read_text() or 0), "the pid file is there")
    daemon = psutil.Process(pid)
    try:
        server.wait_ready()
        _, csr = make_csr(subject="daemon", challenge=challenge)
        with server.client() as client:
            answers = [enroll(client, csr) for _ in range(3)]
        assert [answer.status for answer in answers] == [200] * 3
        assert len({answer.body for answer in answers}) == 1
        wait_until(lambda: server.ask("http", "/crl/ec.crl").status == 200, "the CRL is made")
        assert stat.S_IMODE((tmp_path / "crl" / "ca.crl").stat().st_mode) & 0o007 in (0, 0o004)
        log = tmp_path / (log_file or "twistd.log")
        assert "listens on 127.0.0.1 port" in log.read_text()
        assert challenge not in log.read_text()
        os.kill(pid, signal.SIGTERM)
        daemon.wait(DEADLINE)
    finally:
        if daemon.is_running():
            daemon.kill()
    assert not pid_file.exists()
    assert "Server Shut Down." in log.read_text()
    assert (tmp_path / "twistd.log").exists() is not bool(log_file)
    assert not accepts(server.ports["http"])


def test_log_file_of_twistd(server: Server) -> None:
    """RUN-1: ``--logfile`` works, beside the configured log; the standard output stays empty."""
    server.start("--logfile=other.log")
    assert server.ask("http", "/healthz").status == 200
    assert server.stop() == 0
    for text in ((server.folder / "other.log").read_text(), server.log):
        assert "GET /healthz 200" in text
    assert "GET /healthz" not in server.console


def test_console_has_the_log(server: Server) -> None:
    """RUN-7: in the foreground the log goes to the file and to standard output, one line per event."""
    server.start()
    assert server.ask("http", "/healthz").status == 200
    assert server.stop() == 0
    assert "GET /healthz 200" in server.console
    line = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (TRACE|DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+: .+")
    assert [text for text in server.log.splitlines() if not line.fullmatch(text)] == []


# --- SIGHUP ---------------------------------------------------------------------------------


def serial_of(server: Server) -> int:
    """Of the TLS certificate that a new connection sees."""
    context = ssl.create_default_context(cafile=str(server.folder / "root.crt"))
    with (
        socket.create_connection(("127.0.0.1", server.ports["https"]), DEADLINE) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as stream,
    ):
        der = stream.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def renew_tls(server: Server) -> int:
    """Put a new certificate for HTTPS in place; its serial."""
    issuer = server.files.issuers["ec"]
    leaf = make_leaf(issuer, "localhost", sans=["DNS:localhost", "IP:127.0.0.1"])
    leaf.write(server.folder, "https")
    (server.folder / "https.crt").write_bytes(leaf.pem + issuer.pem)
    return leaf.certificate.serial_number


def test_hangup(server: Server) -> None:
    """RUN-5: TLS certificate, chain, default policy and log level are read again; no connection is dropped."""
    challenges = new_challenges(server, 1)
    server.start()
    before = serial_of(server)
    old = server.client()
    assert old.ask("/healthz").status == 200
    held = Held(server, "https")
    serial = renew_tls(server)
    root = server.files.root
    renewed = make_ca("p256", "Test root", path_length=1, key=root.key)
    chain = server.folder / "ec-chain.crt"
    chain.write_bytes(server.files.issuers["ec"].pem + renewed.pem)
    (server.folder / "validity.conf").write_text("10\n")
    text = server.files.config.read_text()
    server.files.config.write_text(text.replace("[LOGGING]\n", "[LOGGING]\nlog_level = DEBUG\n"))
    assert " DEBUG " not in server.log
    server.hang_up()
    assert before != serial
    assert serial_of(server) == serial
    _, csr = make_csr(challenge=challenges[0])
    answer = enroll(old, csr)
    assert answer.status == 200
    certificate = certificate_of(answer)
    assert certificate.not_valid_after_utc - datetime.now(UTC) < timedelta(days=11)
    assert renewed.der.hex() in ca_certificates(server)
    assert b" 200 " in held_answer(held)
    old.close()
    assert server.stop() == 0


def held_answer(held: Held) -> bytes:
    """The answer on a connection that stays open."""
    held.stream.sendall(b"\x00")
    answer = held.stream.recv(65536)
    held.stream.close()
    return answer


def ca_certificates(server: Server) -> list[str]:
    """Return the certificates of cacerts in hexadecimal."""
    answer = server.ask("https", f"{EST}/cacerts")
    found = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.body))
    return [one.public_bytes(Encoding.DER).hex() for one in found]


BROKEN = {
    "https.crt": ("TLS of HTTPS stays as it was: [HTTPS] ssl_cert: ", b"no certificate\n"),
    "https.key": ("TLS of HTTPS stays as it was: [HTTPS] ssl_key: ", b""),
    "ec-chain.crt": ("The chain of ec stays as it was: [CA] CHAIN_FILE_PATH_EC: ", b"\x30\x82"),
    "validity.conf": ("The default policy stays as it was: [PATHS] validity_conf: ", b"forever\n"),
    "server_ext.cnf": ("The default policy stays as it was: [PATHS] server_ext_cfg: ", b"\xff\xfe[ v3_ext ]\n"),
    "config.ini": ("The log level stays as it was: ", b"[LOGGING]\nlog_level = LOUD\n"),
}


def test_hangup_with_broken_files(server: Server) -> None:
    """RUN-5: a file that can't be used leaves what is in force, and one line."""
    challenges = new_challenges(server, len(BROKEN) * 2)
    server.start()
    before = serial_of(server)
    certificates = ca_certificates(server)
    for name, (line, content) in BROKEN.items():
        path = server.folder / name
        good = path.read_bytes()
        for broken in (content, None):
            if broken is None:
                path.unlink()
            else:
                path.write_bytes(broken)
            length = len(server.log)
            server.hang_up()
            time.sleep(0.02)
            said = [text for text in server.log[length:].splitlines() if " ERROR " in text]
            assert [line in text for text in said].count(True) >= 1, said
            assert not [text for text in said if "stays as it was" not in text]
            assert "Traceback" not in server.log
            assert serial_of(server) == before
            assert ca_certificates(server) == certificates
            _, csr = make_csr(challenge=challenges.pop())
            with server.client() as client:
                answer = enroll(client, csr)
            assert answer.status == 200
            assert certificate_of(answer).not_valid_after_utc - datetime.now(UTC) > timedelta(days=364)
            path.write_bytes(good)
            path.chmod(0o600)
    server.hang_up()
    assert server.stop() == 0


def test_hangup_again_and_again(server: Server) -> None:
    """SIGHUP at any time, also while it starts and while it stops, ends nothing."""
    server.start()
    for _ in range(20):
        server.running.send_signal(signal.SIGHUP)
        assert server.ask("https", "/healthz").status == 200
    server.running.send_signal(signal.SIGHUP)
    server.running.terminate()
    server.running.send_signal(signal.SIGHUP)
    assert server.running.wait(DEADLINE) == 0
