"""Real SCEP clients against a real server (SCEP-1 to SCEP-4)."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.interop import require
from tests.support.scep_client import new_client
from tests.support.scep_live import (
    approve,
    challenge,
    manual,
    rsa_key_file,
    run,
    server_in,
    strongswan,
    strongswan_cas,
    url,
    verify,
)

pytestmark = pytest.mark.interop

SUBMIT = "/usr/lib/certmonger/scep-submit"


# --- strongSwan --------------------------------------------------------------------------


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
