"""The whole certmonger client on a D-Bus of its own: it enrolls, polls, and renews by SCEP (SCEP-1 to SCEP-3)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from tests.support.interop import require
from tests.support.scep_client import read_degenerate
from tests.support.scep_live import challenge, manual, server_in, verify
from tests.support.scep_live import url as scep_url
from tests.support.server import Server, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.slow]

DAEMON = "/usr/lib/certmonger/certmonger-session"
ISSUERS = {"rsa2048": "rsa", "p256": "ec"}
KINDS = pytest.mark.parametrize("kind", ISSUERS)
# What a key changes, KINDS has shown: these answers carry no certificate.
REFUSED_KINDS = pytest.mark.parametrize("kind", ["rsa2048", pytest.param("p256", marks=pytest.mark.soak)])
# certmonger ends its own processes after each step; whoever is left this long after its end is killed.
_GRACE_SECONDS = 10.0
_BETWEEN_LOOKS_SECONDS = 0.3


@dataclass
class Certmonger:
    """A running certmonger with one CA, ``ca1``, and one certificate, ``r1``.

    :ivar folder: with ``r1.key`` and ``r1.pem``.
    """

    server: Server
    folder: Path
    environment: dict[str, str]

    @property
    def certificate(self) -> Path:
        """Where the certificate appears."""
        return self.folder / "r1.pem"

    def getcert(self, command: str, *options: str, check: bool = True) -> str:
        """Run ``getcert`` and return its output."""
        done = subprocess.run(
            ["getcert", command, "-s", *options],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout
        return done.stdout

    def add_ca(self) -> None:
        """Tell it about the server: its CA certificates, and the one that messages are encrypted for."""
        issuer = next(iter(self.server.files.issuers.values()))
        (self.folder / "chain.pem").write_bytes(issuer.chain_pem)
        answer = self.server.ask("scep", "/scep?operation=GetCACert")
        recipient = answer.body
        if answer.headers["Content-Type"] == "application/x-x509-ca-ra-cert":
            found = [x509.load_der_x509_certificate(one) for one in read_degenerate(answer.body)[0]]
            ra = next(one for one in found if not _is_ca(one))
            recipient = ra.public_bytes(Encoding.DER)
        pem = x509.load_der_x509_certificate(recipient).public_bytes(Encoding.PEM)
        (self.folder / "recipient.pem").write_bytes(pem)
        chain, ra_file = str(self.folder / "chain.pem"), str(self.folder / "recipient.pem")
        self.getcert("add-scep-ca", "-c", "ca1", "-u", scep_url(self.server), "-N", chain, "-r", ra_file)

    def request(self, *options: str) -> None:
        """Ask for the certificate."""
        files = ("-k", str(self.folder / "r1.key"), "-f", str(self.certificate))
        self.getcert("request", "-I", "r1", "-c", "ca1", *files, "-N", "CN=certmonger", *options)

    def status(self) -> str:
        """Return the request's status as ``getcert`` lists it."""
        match = re.search(r"^\s*status: (\S+)$", self.getcert("list", "-i", "r1"), re.MULTILINE)
        return match[1] if match else ""

    def wait_for(self, status: str) -> None:
        """Wait until the certificate is in that state.

        certmonger waits minutes between two polls, so the test makes it poll at once.
        """

        def reached() -> bool:
            now = self.status()
            if now == "CA_WORKING" != status:
                self.getcert("refresh", "-i", "r1", check=False)
            if now != status:
                time.sleep(_BETWEEN_LOOKS_SECONDS)
            return now == status

        try:
            wait_until(reached, status, 60)
        except AssertionError as error:
            raise AssertionError(f"{self.getcert('list', check=False)}\n{self.server.log[-3000:]}") from error

    def has_polled(self) -> bool:
        """Make it poll again; return whether it has polled."""
        self.getcert("refresh", "-i", "r1", check=False)
        time.sleep(_BETWEEN_LOOKS_SECONDS)
        return len(re.findall("SCEP .*: PENDING", self.server.log)) > 1

    def issued(self) -> x509.Certificate:
        """The certificate, once it is there; its chain and its key are right."""
        self.wait_for("MONITORING")
        certificate = verify(self.server, self.certificate, next(iter(self.server.files.issuers)))
        key = load_pem_private_key((self.folder / "r1.key").read_bytes(), None)
        assert certificate.public_key() == key.public_key()
        return certificate


def _is_ca(certificate: x509.Certificate) -> bool:
    return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def _is_on_bus(environment: dict[str, str]) -> bool:
    """Whether certmonger answers; asking it would have the bus start another one."""
    bus = "org.freedesktop.DBus"
    command = ["dbus-send", "--session", "--print-reply", f"--dest={bus}", "/org/freedesktop/DBus"]
    done = subprocess.run(
        [*command, f"{bus}.NameHasOwner", "string:org.fedorahosted.certmonger"],
        env=environment,
        capture_output=True,
        timeout=30,
        check=False,
    )
    return b"boolean true" in done.stdout


@contextmanager
def session(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of a session bus on which certmonger runs; none of their processes survives."""
    home = folder / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "TMPDIR": str(home)}
    script = f'echo "$$ $DBUS_SESSION_BUS_ADDRESS"; exec {DAEMON} -s -n 2>{home}/certmonger.log >&2'
    with subprocess.Popen(
        ["dbus-run-session", "--", "sh", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as bus:
        try:
            assert bus.stdout is not None
            daemon, address = bus.stdout.readline().split()
            environment["DBUS_SESSION_BUS_ADDRESS"] = address
            wait_until(lambda: _is_on_bus(environment), "certmonger is on the bus")
            yield environment
            os.kill(int(daemon), signal.SIGTERM)
        finally:
            processes = [psutil.Process(bus.pid), *psutil.Process(bus.pid).children(recursive=True)]
            _gone, alive = psutil.wait_procs(processes, _GRACE_SECONDS)
            for process in alive:
                process.kill()
    assert alive == []


@contextmanager
def certmonger(folder: Path, kind: str, *, approval: bool = False) -> Iterator[Certmonger]:
    """A server, and certmonger that knows it.

    :param approval: an administrator looks at each enrollment.
    """
    require("dbus-run-session", "dbus-send", "getcert", DAEMON)
    with server_in(folder, kind) as server, session(folder) as environment:
        if approval:
            manual(server)
        client = Certmonger(server, folder, environment)
        client.add_ca()
        yield client


def waiting(server: Server) -> str:
    """The id of the one enrollment that waits for an administrator."""

    def rows() -> list[str]:
        return server.run("approval", "list").splitlines()

    (row,) = wait_until(rows, "a request waits")
    return str(row.split("\t")[0])


@KINDS
def test_enrolls_and_renews(tmp_path: Path, kind: str) -> None:
    """With a challenge password; the new key is certified without one."""
    with certmonger(tmp_path, kind) as client:
        client.request("-L", challenge(client.server))
        first = client.issued()
        client.certificate.unlink()
        client.getcert("rekey", "-i", "r1")
        wait_until(client.certificate.exists, "the certificate is renewed")
        second = client.issued()
    assert first.public_key() != second.public_key()
    assert first.subject == second.subject


@KINDS
def test_waits_for_approval(tmp_path: Path, kind: str) -> None:
    """certmonger polls after PENDING and gets the certificate after approval; the renewal does the same."""
    with certmonger(tmp_path, kind, approval=True) as client:
        client.request()
        client.wait_for("CA_WORKING")
        number = waiting(client.server)
        wait_until(client.has_polled, "it polls")
        client.wait_for("CA_WORKING")
        client.server.run("approval", "approve", number)
        first = client.issued()

        client.certificate.unlink()
        client.getcert("rekey", "-i", "r1")
        client.wait_for("CA_WORKING")
        client.server.run("approval", "approve", waiting(client.server))
        client.wait_for("MONITORING")
        second = client.issued()
    assert first.public_key() != second.public_key()


@REFUSED_KINDS
def test_is_rejected(tmp_path: Path, kind: str) -> None:
    """certmonger understands FAILURE, also in the answer to a poll."""
    with certmonger(tmp_path, kind, approval=True) as client:
        client.request()
        client.wait_for("CA_WORKING")
        client.server.run("approval", "reject", waiting(client.server))
        client.wait_for("CA_REJECTED")
        assert not client.certificate.exists()


@REFUSED_KINDS
def test_has_a_wrong_challenge(tmp_path: Path, kind: str) -> None:
    """It is rejected at once, and tries no more."""
    with certmonger(tmp_path, kind) as client:
        client.request("-L", "wrong")
        client.wait_for("CA_REJECTED")
        assert not client.certificate.exists()
