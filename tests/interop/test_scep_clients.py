"""Real SCEP clients against a real server (SCEP-1 to SCEP-4)."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pikachu.cli.session import done, operator
from pikachu.model import Approval, Event, ListQuery, Policy
from tests.support.interop import require
from tests.support.lint import check_chain
from tests.support.scep_client import new_client, read_degenerate
from tests.support.server import Server, running_server, wait_until

pytestmark = pytest.mark.interop

SUBMIT = "/usr/lib/certmonger/scep-submit"
SESSION = "/usr/lib/certmonger/certmonger-session"


def run(folder: Path, *command: str, codes: tuple[int, ...] = (0,)) -> str:
    """The output of a command that ends with one of *codes*."""
    result = subprocess.run(command, cwd=folder, check=False, capture_output=True, timeout=90, stdin=subprocess.DEVNULL)
    text = (result.stdout + result.stderr).decode("utf-8", "replace")
    assert result.returncode in codes, f"{' '.join(command)}: {result.returncode}\n{text}"
    return text


def challenge(server: Server) -> str:
    """A new challenge password."""
    with server.core() as core:
        return done(core.accounts.create_challenge(operator()))[1]


def manual(server: Server) -> None:
    """Let a person look at each enrollment."""
    with server.core() as core:
        policy = Policy(
            0, "looked at", 30, core.policies.default.extensions, True, use_for_scep=True, approval=Approval.MANUAL
        )
        done(core.store.add_policy(policy, Event("create", "policy", policy.name, "test"), core.authority.now()))
    # A running server looks for changed policies once a second.
    time.sleep(1.1)


def approve(server: Server) -> None:
    """Approve what waits, once something does."""

    def waiting() -> bool:
        with server.core() as core:
            page = done(core.inventory.approvals(operator(), ListQuery(filters={"state": "pending"})))
            for request in page.items:
                done(core.registration.approve(operator(), request.id))
            return bool(page.items)

    wait_until(waiting, "a request waits")


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.ports['scep']}/scep"


def verify(server: Server, path: Path, issuer: str) -> x509.Certificate:
    """The certificate in a PEM file, whose chain OpenSSL verifies."""
    found = x509.load_pem_x509_certificate(path.read_bytes())
    ca = server.files.issuers[issuer]
    check_chain(found.public_bytes(Encoding.DER), [ca.der, server.files.root.der])
    return found


@contextmanager
def server_in(folder: Path, kind: str, **changes: str) -> Iterator[Server]:
    settings = {("SCEP", key): text for key, text in changes.items()}
    with running_server(folder / "server", (kind,), changes=settings) as server:
        yield server


def rsa_key_file(folder: Path, name: str = "key.pem") -> str:
    run(folder, "openssl", "genrsa", "-traditional", "-out", name, "2048")
    return name


# --- strongSwan --------------------------------------------------------------------------


def strongswan_cas(server: Server, folder: Path) -> tuple[str, str]:
    """(the recipient, the issuing CA): what ``pki --scepca`` writes."""
    run(
        folder,
        "pki",
        "--scepca",
        "--url",
        url(server),
        "--caout",
        "ca.pem",
        "--raout",
        "ra.pem",
        "--outform",
        "pem",
        "--force",
    )
    ra = next(iter(sorted(folder.glob("ra*.pem"))), None)
    (folder / "root.pem").write_bytes(server.files.root.pem)
    (folder / "sub.pem").write_bytes(next(iter(server.files.issuers.values())).pem)
    return ("sub.pem" if ra is None else ra.name), "sub.pem"


def strongswan(server: Server, folder: Path, out: str, *options: str) -> Path:
    recipient, ca = strongswan_cas(server, folder)
    command = ["pki", "--scep", "--url", url(server), "--in", "key.pem", "--outform", "pem"]
    command += ["--dn", "C=DE, CN=strongswan"]
    command += ["--cacert-enc", recipient, "--cacert-sig", recipient, "--cacert", ca, "--cacert", "root.pem"]
    text = run(folder, *command, *options)
    (folder / out).write_text(text[text.index("-----BEGIN") :])
    return folder / out


@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_strongswan(tmp_path: Path, kind: str) -> None:
    """``pki --scepca`` and ``pki --scep``: enrollment and renewal with AES and SHA-256, with and without an RA."""
    require("pki", "openssl")
    issuer = {"rsa2048": "rsa", "p256": "ec"}[kind]
    with server_in(tmp_path, kind) as server:
        rsa_key_file(tmp_path)
        options = ("--cipher", "aes", "--digest", "sha256")
        first = strongswan(
            server, tmp_path, "first.pem", "--password", challenge(server), "--san", "a.example.com", *options
        )
        certificate = verify(server, first, issuer)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["a.example.com"]
        renewed = strongswan(server, tmp_path, "second.pem", "--cert", "first.pem", "--key", "key.pem", *options)
        assert verify(server, renewed, issuer).serial_number != certificate.serial_number
        assert "RENEWAL_REQ" in server.log


def test_strongswan_waits_for_approval(tmp_path: Path) -> None:
    """PENDING and CertPoll."""
    require("pki", "openssl")
    with server_in(tmp_path, "rsa2048") as server:
        manual(server)
        rsa_key_file(tmp_path)
        recipient, ca = strongswan_cas(server, tmp_path)
        command = ["pki", "--scep", "--url", url(server), "--in", "key.pem", "--dn", "CN=waits", "--outform", "pem"]
        command += ["--cacert-enc", recipient, "--cacert-sig", recipient, "--cacert", ca, "--cacert", "root.pem"]
        command += ["--interval", "1", "--maxpolltime", "60"]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
            try:
                approve(server)
                output, errors = client.communicate(timeout=60)
            finally:
                client.kill()
        assert client.returncode == 0, errors
        (tmp_path / "cert.pem").write_bytes(output)
        verify(server, tmp_path / "cert.pem", "rsa")
        assert "CERT_POLL" in server.log


def test_strongswan_with_a_wrong_challenge(tmp_path: Path) -> None:
    """The client shows badRequest."""
    require("pki", "openssl")
    with server_in(tmp_path, "rsa2048") as server:
        rsa_key_file(tmp_path)
        recipient, ca = strongswan_cas(server, tmp_path)
        command = ["pki", "--scep", "--url", url(server), "--in", "key.pem", "--dn", "CN=x", "--password", "wrong"]
        command += ["--cacert-enc", recipient, "--cacert-sig", recipient, "--cacert", ca, "--cacert", "root.pem"]
        assert "not permitted" in run(tmp_path, *command, codes=(1, 2, 3, 4, 5)) or "BAD_REQUEST" in server.log


# --- scepclient --------------------------------------------------------------------------


def test_scepclient_behind_the_legacy_switch(tmp_path: Path) -> None:
    """SHA-1 and single DES; enrollment and renewal.  It encrypts for each certificate of GetCACert, so that a CA
    with another key than RSA makes it panic.
    """
    require("scepclient")
    with server_in(tmp_path, "rsa2048", legacy="true") as server:
        command = ("scepclient", "-server-url", url(server), "-private-key", "go.key", "-certificate", "go.pem")
        run(tmp_path, *command, "-cn", "device", "-challenge", challenge(server))
        first = verify(server, tmp_path / "go.pem", "rsa")
        run(tmp_path, *command, "-cn", "device")
        assert verify(server, tmp_path / "go.pem", "rsa").serial_number != first.serial_number


def test_scepclient_without_the_switch(tmp_path: Path) -> None:
    """badAlg."""
    require("scepclient")
    with server_in(tmp_path, "rsa2048") as server:
        command = ("scepclient", "-server-url", url(server), "-private-key", "go.key", "-certificate", "go.pem")
        text = run(tmp_path, *command, "-cn", "device", "-challenge", challenge(server), codes=(0, 1))
        assert "badalg" in text.lower()
        assert not (tmp_path / "go.pem").exists()


# --- certmonger --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_certmonger_submits(tmp_path: Path, kind: str) -> None:
    """``scep-submit``: capabilities, CA certificates, and a message by GET."""
    require(SUBMIT)
    with server_in(tmp_path, kind) as server:
        assert "SCEPStandard" in run(tmp_path, SUBMIT, "-u", url(server), "-c")
        (tmp_path / "root.pem").write_bytes(server.files.root.pem)
        text = run(tmp_path, SUBMIT, "-u", url(server), "-C", "-R", "root.pem")
        certificates = x509.load_pem_x509_certificates(text[text.index("-----BEGIN") :].encode())
        ca = next(iter(server.files.issuers.values()))
        recipient = ca.der
        if kind == "p256":
            recipient = next(one for one in certificates if one.subject != ca.certificate.subject).public_bytes(
                Encoding.DER
            )
        (tmp_path / "ra.pem").write_bytes(x509.load_der_x509_certificate(recipient).public_bytes(Encoding.PEM))
        (tmp_path / "ca.pem").write_bytes(ca.pem)
        client = new_client(recipient)
        (tmp_path / "message").write_bytes(base64.b64encode(client.pkcs_req()))
        arguments = ("-p", "-r", str(tmp_path / "ra.pem"), "-N", str(tmp_path / "ca.pem"), "message")
        text = run(tmp_path, SUBMIT, "-u", url(server), *arguments, codes=(0, 2, 3))
        assert "challenge" in text.lower() or "BAD_REQUEST" in server.log


@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_certmonger(tmp_path: Path, kind: str) -> None:
    """A whole session: a CA is added, a certificate requested and its key replaced."""
    require("dbus-run-session", "getcert", SESSION)
    issuer = {"rsa2048": "rsa", "p256": "ec"}[kind]
    with server_in(tmp_path, kind) as server:
        ca = next(iter(server.files.issuers.values()))
        (tmp_path / "ca.pem").write_bytes(ca.pem + server.files.root.pem)
        recipient = ca.pem
        if kind == "p256":
            body = server.ask("scep", "/scep?operation=GetCACert").body
            found = [x509.load_der_x509_certificate(one) for one in read_degenerate(body)[0]]
            ra = next(one for one in found if "RA" in one.subject.rfc4514_string())
            recipient = ra.public_bytes(Encoding.PEM)
        (tmp_path / "ra.pem").write_bytes(recipient)
        script = f"""
set -e
{SESSION} -s -n >session.log 2>&1 &
daemon=$!
trap 'kill $daemon' EXIT
monitored() {{
    for _ in $(seq 100); do
        getcert list -s -i r1 | grep -q 'status: MONITORING' && test -s $1 && return 0
        sleep 0.2
    done
    getcert list -s
    return 1
}}
for _ in $(seq 50); do getcert list-cas -s >/dev/null 2>&1 && break; sleep 0.1; done
getcert add-scep-ca -s -c ca1 -u {url(server)} -N {tmp_path}/ca.pem -r {tmp_path}/ra.pem
getcert request -s -I r1 -c ca1 -k {tmp_path}/c.key -f {tmp_path}/c.pem -N CN=certmonger -L {challenge(server)}
monitored c.pem
cp c.pem first.pem
rm c.pem
getcert rekey -s -i r1
monitored c.pem
"""
        environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
        with subprocess.Popen(
            ["dbus-run-session", "--", "sh", "-c", script],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as session:
            try:
                output, _ = session.communicate(timeout=80)
            except subprocess.TimeoutExpired:
                os.killpg(session.pid, signal.SIGKILL)
                output, _ = session.communicate()
        assert session.returncode == 0, (output, server.log[-3000:])
        first = verify(server, tmp_path / "first.pem", issuer)
        second = verify(server, tmp_path / "c.pem", issuer)
        assert first.public_key() != second.public_key()
        assert first.subject == second.subject
