"""The codec against real programs: openssl reads what it makes, SCEP clients enroll with it alone."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from pikachu.cms.algorithms import LEGACY, MODERN, Cipher, Digest
from pikachu.cms.enveloped import envelop, open_envelope, parse_enveloped_data, recipient_for
from pikachu.cms.identity import identify
from pikachu.cms.signed import degenerate, parse_signed_data, prepare
from pikachu.core.errors import UnsupportedAlgorithm
from pikachu.protocols.scep.messages import FailInfo, MessageType, Reply, decode
from pikachu.x509.pem import pem
from tests.support.interop import require
from tests.support.scep_client import rsa_key
from tests.support.scep_loopback import LoopbackSCEPServer, throw_away_ca
from tests.support.signature_algorithms import rsa_signature_algorithm

pytestmark = pytest.mark.interop

ALGORITHM = rsa_signature_algorithm(Digest.SHA256)


def run(directory: Path, *command: str, check: bool = True) -> str:
    """The output of *command*; its standard error is shown when it fails."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """With ``ca.pem`` and ``key.pem`` of a throw-away authority."""
    key = rsa_key()
    (tmp_path / "ca.der").write_bytes(throw_away_ca(key))
    (tmp_path / "ca.pem").write_text(pem("CERTIFICATE", (tmp_path / "ca.der").read_bytes()))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return tmp_path


def test_openssl_verifies_signed_data(directory: Path) -> None:
    """``openssl cms -verify`` and ``openssl smime -verify`` give the content."""
    require("openssl")
    certificate = (directory / "ca.der").read_bytes()
    unsigned = prepare(
        b"the content",
        signer=identify(certificate),
        algorithm=ALGORITHM,
        signing_time=datetime.now(UTC),
        certificates=[certificate],
    )
    signature = rsa_key().sign(unsigned.to_be_signed, padding.PKCS1v15(), hashes.SHA256())
    (directory / "signed").write_bytes(unsigned.assemble(signature))
    for tool in ("cms", "smime"):
        command = ("openssl", tool, "-verify", "-inform", "DER", "-in", "signed", "-CAfile", "ca.pem")
        assert "the content" in run(directory, *command, "-purpose", "any")
    spoilt = unsigned.assemble(signature[:-1] + bytes((signature[-1] ^ 1,)))
    (directory / "signed").write_bytes(spoilt)
    assert "failure" in run(directory, *command, "-purpose", "any", check=False).lower()


@pytest.mark.parametrize("cipher", [Cipher.DES3, Cipher.AES128, Cipher.AES192, Cipher.AES256])
def test_openssl_decrypts_enveloped_data(directory: Path, cipher: Cipher) -> None:
    """``openssl cms -decrypt`` finds its recipient by issuer and serial number."""
    require("openssl")
    data = envelop(b"the content", identify((directory / "ca.der").read_bytes()), cipher)
    (directory / "enveloped").write_bytes(data)
    for tool in ("cms", "smime"):
        command = ("openssl", tool, "-decrypt", "-inform", "DER", "-in", "enveloped", "-recip", "ca.pem")
        assert "the content" in run(directory, *command, "-inkey", "key.pem")


@pytest.mark.parametrize(
    "options",
    [(), ("-keyid",), ("-keyopt", "rsa_padding_mode:oaep"), ("-stream", "-indef"), ("-aes-256-cbc",)],
)
def test_what_openssl_encrypts_is_opened(directory: Path, options: tuple[str, ...]) -> None:
    """Key identifiers, OAEP, and the indefinite lengths of ``-stream``."""
    require("openssl")
    (directory / "plain").write_bytes(b"the content" * 1000)
    cipher = () if "-aes-256-cbc" in options else ("-aes128",)
    command = ("openssl", "cms", "-encrypt", "-binary", *cipher, "-in", "plain", "-outform", "DER", "-out", "e")
    before = [option for option in options if option not in ("-keyopt", "rsa_padding_mode:oaep")]
    after = ("-keyopt", "rsa_padding_mode:oaep") if "-keyopt" in options else ()
    run(directory, *command, *before, "-recip", "ca.pem", *after)
    enveloped = parse_enveloped_data((directory / "e").read_bytes())
    recipient = recipient_for(enveloped, [identify((directory / "ca.der").read_bytes())])
    scheme: padding.AsymmetricPadding = padding.PKCS1v15()
    if recipient.oaep_hash is not None:
        assert recipient.oaep_hash == "sha1"
        sha1 = hashes.SHA1()
        scheme = padding.OAEP(padding.MGF1(sha1), sha1, None)
    assert (recipient.oaep_hash is not None) == ("-keyopt" in options)
    content_key = rsa_key().decrypt(recipient.encrypted_key, scheme)
    assert open_envelope(enveloped, content_key) == b"the content" * 1000


@pytest.mark.parametrize(
    "options",
    [(), ("-keyid",), ("-keyopt", "rsa_padding_mode:pss"), ("-stream", "-indef"), ("-md", "sha512"), ("-noattr",)],
)
def test_what_openssl_signs_verifies(directory: Path, options: tuple[str, ...]) -> None:
    """SHA-512, PSS, no signed attributes, indefinite lengths; named by issuer or by key identifier."""
    require("openssl")
    (directory / "plain").write_bytes(b"the content" * 1000)
    command = ("openssl", "cms", "-sign", "-nodetach", "-binary", "-in", "plain", "-outform", "DER", "-out", "s")
    before = [option for option in options if option not in ("-keyopt", "rsa_padding_mode:pss")]
    after = ("-keyopt", "rsa_padding_mode:pss") if "-keyopt" in options else ()
    run(directory, *command, *before, "-signer", "ca.pem", "-inkey", "key.pem", *after)
    signed = parse_signed_data((directory / "s").read_bytes())
    assert signed.content == b"the content" * 1000
    assert signed.verify().certificate == (directory / "ca.der").read_bytes()


def test_openssl_prints_degenerate(directory: Path) -> None:
    """A SignedData without signers."""
    require("openssl")
    (directory / "p7").write_bytes(degenerate([(directory / "ca.der").read_bytes()]))
    text = run(directory, "openssl", "pkcs7", "-inform", "DER", "-in", "p7", "-print_certs", "-noout")
    assert "Throw-away CA" in text


@pytest.mark.parametrize("fail_info", [None, *FailInfo])
def test_openssl_verifies_replies_without_an_envelope(directory: Path, fail_info: FailInfo | None) -> None:
    """PENDING, and FAILURE with each failInfo: the content is empty, and the signature covers it."""
    require("openssl")
    certificate = (directory / "ca.der").read_bytes()
    reply = Reply(b"tid", b"nonce", bytes(16), datetime.now(UTC), identify(certificate), ALGORITHM)
    unsigned = reply.pending() if fail_info is None else reply.failure(fail_info, "no")
    data = unsigned.assemble(rsa_key().sign(unsigned.to_be_signed, padding.PKCS1v15(), hashes.SHA256()))
    (directory / "reply").write_bytes(data)
    for tool in ("cms", "smime"):
        command = ("openssl", tool, "-verify", "-inform", "DER", "-in", "reply", "-CAfile", "ca.pem", "-binary")
        run(directory, *command, "-purpose", "any", "-out", "content")
        assert (directory / "content").read_bytes() == b""


# --- SCEP clients ------------------------------------------------------------------------


def strongswan(server: LoopbackSCEPServer, directory: Path, *options: str) -> str:
    """``pki --scep``; the certificate in PEM."""
    (directory / "scep-ca.pem").write_text(pem("CERTIFICATE", server.certificate))
    command = ("pki", "--scep", "--url", server.url, "--in", "key.pem", "--dn", "C=DE, CN=strongswan")
    authority = ("--cacert-enc", "scep-ca.pem", "--cacert-sig", "scep-ca.pem", "--cacert", "scep-ca.pem")
    return run(directory, *command, *authority, "--outform", "pem", *options)


@pytest.mark.parametrize("options", [(), ("--digest", "sha512"), ("--digest", "sha384", "--rsa-padding", "pss")])
def test_strongswan_enrolls(directory: Path, options: tuple[str, ...]) -> None:
    """The codec's answers satisfy ``pki --scep``: its nonces, its transaction id, its recipient."""
    require("pki", "openssl")
    with LoopbackSCEPServer(MODERN) as server:
        text = strongswan(server, directory, "--password", "secret", "--san", "a.example.com", *options)
    assert "BEGIN CERTIFICATE" in text
    assert server.errors == []


def test_strongswan_polls_and_renews(directory: Path) -> None:
    """PENDING, CertPoll and RenewalReq."""
    require("pki")
    with LoopbackSCEPServer(MODERN, pending=1) as server:
        text = strongswan(server, directory, "--interval", "1")
        (directory / "old.pem").write_text(text[text.index("-----BEGIN") :])
        strongswan(server, directory, "--cert", "old.pem", "--key", "key.pem")
    kinds = [decode(data).check() for data in server.received]
    assert kinds == [MessageType.PKCS_REQ, MessageType.CERT_POLL, MessageType.RENEWAL_REQ]
    assert server.errors == []


def test_scepclient_enrolls_behind_the_legacy_switch(directory: Path) -> None:
    """It always sends SHA-1 and single DES with a constructed encryptedContent."""
    require("scepclient")
    with LoopbackSCEPServer(LEGACY) as server:
        command = ("scepclient", "-server-url", server.url, "-private-key", "go.key", "-certificate", "go.pem")
        run(directory, *command, "-cn", "device", "-challenge", "secret")
        run(directory, *command, "-cn", "device")
    certificate = x509.load_pem_x509_certificate((directory / "go.pem").read_bytes())
    assert certificate.issuer == x509.load_der_x509_certificate(server.certificate).subject
    assert [decode(data).check() for data in server.received] == [MessageType.PKCS_REQ, MessageType.RENEWAL_REQ]
    assert server.errors == []


def test_scepclient_is_refused_without_the_switch(directory: Path) -> None:
    """badAlg, and the client understands it."""
    require("scepclient")
    with LoopbackSCEPServer(MODERN) as server:
        command = ("scepclient", "-server-url", server.url, "-private-key", "go.key", "-certificate", "go.pem")
        text = run(directory, *command, "-cn", "device", check=False)
    assert [type(error) for error in server.errors] == [UnsupportedAlgorithm]
    assert "badalg" in text.lower()
    assert not (directory / "go.pem").exists()
