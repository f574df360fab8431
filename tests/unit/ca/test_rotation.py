"""Rotation of keys in files: announcing, switching, and processes killed on the way (VLT-4)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from pikachu.ca.issuers import IssuingCA
from pikachu.cli.main import main
from pikachu.core.errors import ConfigError
from pikachu.x509.certificate import parse_certificate
from tests.support.deferreds import result_of
from tests.support.lint import check_certificate, check_chain
from tests.support.pki import make_ca
from tests.support.scep import SCEP, scep_site
from tests.support.scep_client import read_degenerate, verify_signed
from tests.support.stack import Stack, build_core, open_stack

# Does what is due, and ends at once at the n-th change of a name.
DYING = """
import os, sys
left = int(sys.argv[2])
def watch(event, arguments):
    global left
    if event in ("os.rename", "os.link", "os.remove"):
        if left == 0:
            os._exit(9)
        left -= 1
from pikachu.config.loading import load
from pikachu.server.ca_loading import ca_files
from pikachu.signers.ca_keys import CAKeys
from pikachu.ca.rotation import RotationFiles, complete
from pikachu.core.model.times import utc
import time
from pathlib import Path
config = load(Path(sys.argv[1]), os.environ)
files = RotationFiles(ca_files(config, config.ca.issuers["rsa"]))
sys.addaudithook(watch)
complete(files, CAKeys("refuse"), utc(time.time()), print)
"""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A CA with an RSA key, whose root's key is here too."""
    made = build_core(tmp_path / "ca", key_types=("rsa2048",))
    opened = [made]
    made.app.publisher.begin()
    yield made
    opened[0].close()


def rotate(stack: Stack, *arguments: str) -> int:
    """``pikachu ca rotate rsa``, as another process would."""
    return main(["ca", "rotate", "rsa", "--config", str(stack.files.config), *arguments])


def followed(stack: Stack) -> Stack:
    """As a running server does twice a second."""
    result_of(stack.app.generations.update(stack.app.issuers))
    return stack


def key_of(stack: Stack, name: str = "rsa") -> bytes:
    return stack.app.issuers.named(name).key_identifier


def test_announced_and_switched(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """VLT-4: made by the root here, announced to SCEP and EST clients, in force from its date on."""
    app, old = stack.app, stack.app.issuers.named("rsa")
    scep = SCEP(stack, scep_site(stack))
    before = scep.enrolled(scep.client())
    assert rotate(stack) == 0
    assert app.issuers.next("rsa") is None
    followed(stack)
    coming = app.issuers.next("rsa")
    assert coming is not None
    assert key_of(stack) == old.key_identifier
    assert coming.certificate.subject_der == old.certificate.subject_der
    assert (coming.key.text, coming.key_identifier) != (old.key.text, old.key_identifier)
    check_chain(coming.certificate.der, [stack.files.root.der])
    # Signed by the current CA; the next certificate inside and outside.
    assert b"GetNextCACert" in scep.get_scep("GetCACaps").body
    answer = scep.get_scep("GetNextCACert")
    assert answer.headers["Content-Type"] == "application/x-x509-next-ca-cert"
    signed, _ = verify_signed(answer.body, old.certificate.der)
    inside, _ = read_degenerate(signed["encap_content_info"]["content"].native)
    assert inside == [coming.certificate.der]
    assert coming.certificate.der in [one.dump() for one in signed["certificates"]]
    # The date: a running server switches by itself.
    stack.clock.advance(29 * 86400)
    assert key_of(followed(stack)) == old.key_identifier
    # The command took its date from the real clock, which went on since the stack was made.
    stack.clock.advance(86400 + 3600)
    assert key_of(followed(stack)) == coming.key_identifier
    assert app.issuers.next("rsa") is None
    assert scep.get_scep("GetNextCACert").status == 404
    assert scep.ca_certificates() == [coming.certificate.der]
    # A client that knows the former CA certificate is answered by the former key, with a new certificate.
    leaf = scep.leaf(scep.ask_scep(before, before.renewal_req()))
    assert parse_certificate(leaf).authority_key_identifier == coming.key_identifier
    fresh = scep.client(2)
    assert fresh.recipient == coming.certificate.der
    scep.leaf(scep.enroll_scep(fresh, "fresh", scep.admin_challenge()))
    assert main(["ca", "list", "--config", str(stack.files.config)]) == 0
    listed = capsys.readouterr().out
    assert f"rsa\tformer\tRSA/2048\t{old.key_identifier.hex()}" in listed
    assert f"rsa\tcurrent\tRSA/2048\t{coming.key_identifier.hex()}" in listed


def test_what_was_issued_before_stays_served(stack: Stack) -> None:
    """VLT-4: OCSP and CRL of the former generation, also after a restart, until its own end."""
    old = stack.issuer()
    revoked, good = stack.issue("revoked"), stack.issue("good")
    assert rotate(stack, "--now") == 0
    followed(stack)
    stack.revoke(revoked)
    again = stack.restart()
    try:
        result_of(again.app.publisher.begin())
        former = again.app.issuers.by_key_identifier(old.key_identifier)
        assert former is not None
        assert former is not again.issuer()
        new = again.issue("new")
        crl_path = again.app.publisher.published(former).der_path
        crl = x509.load_der_x509_crl(crl_path.read_bytes())
        assert crl.is_signature_valid(x509.load_der_x509_certificate(old.certificate.der).public_key())  # type: ignore[arg-type]
        assert [one.serial_number for one in crl] == [revoked.serial]
        check_certificate(good.der, former.chain)
        check_certificate(new.der, again.issuer().chain)
        assert parse_certificate(new.der).authority_key_identifier == again.issuer().key_identifier
        again.clock.advance(3651 * 86400)
    finally:
        again.close()
        stack.app = open_stack(stack.files).app


def test_a_subscriber_that_fails(stack: Stack) -> None:
    """The generation is in service, and the next subscriber learns of it."""
    seen: list[bytes] = []

    def broken(issuer: IssuingCA) -> None:
        raise RuntimeError("no broker")

    stack.app.issuers.subscribe(broken)
    stack.app.issuers.subscribe(lambda issuer: seen.append(issuer.key_identifier))
    old = key_of(stack)
    assert rotate(stack) == 0
    coming = followed(stack).app.issuers.next("rsa")
    assert coming is not None
    assert rotate(stack, "--now") == 0
    assert key_of(followed(stack)) == coming.key_identifier != old
    assert seen == [coming.key_identifier] * 2


def test_rollover_certificates(stack: Stack) -> None:
    """EST cacerts: old with new and new with old (RFC 7030 section 4.1.3), before and after the switch."""
    old = x509.load_der_x509_certificate(stack.issuer().certificate.der)
    rotate(stack)
    followed(stack)
    coming = stack.app.issuers.next("rsa")
    assert coming is not None
    new = x509.load_der_x509_certificate(coming.certificate.der)

    def check() -> None:
        found = [x509.load_der_x509_certificate(one) for one in result_of(stack.app.est.ca_certificates(None))]
        assert old in found or stack.issuer() is coming
        assert new in found
        crossed = [one for one in found if one.issuer == one.subject and one.issuer == old.subject]
        assert len(crossed) == 2
        (new_with_old,) = [one for one in crossed if one.public_key() == new.public_key()]
        (old_with_new,) = [one for one in crossed if one.public_key() == old.public_key()]
        new_with_old.verify_directly_issued_by(old)
        old_with_new.verify_directly_issued_by(new)

    check()
    rotate(stack, "--now")
    followed(stack)
    assert key_of(stack) == coming.key_identifier
    check()


def test_an_offline_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--csr-only`` and ``--certificate``."""
    stack = build_core(tmp_path / "ca", key_types=("p256",), root_key=False)
    try:
        arguments = ["ca", "rotate", "ec", "--config", str(stack.files.config)]
        assert main(arguments) == 1
        assert "--csr-only" in capsys.readouterr().err
        assert main([*arguments, "--csr-only"]) == 0
        request = Path(capsys.readouterr().out.strip())
        assert main([*arguments, "--csr-only"]) == 0
        csr = x509.load_pem_x509_csr(request.read_bytes())
        assert csr.is_signature_valid
        assert csr.subject == stack.files.issuers["ec"].certificate.subject
        wrong = make_ca("p256", "Test ec CA", issuer=stack.files.root, path_length=0, slot=3)
        answer = tmp_path / "answer.pem"
        answer.write_bytes(wrong.pem)
        assert main([*arguments, "--certificate", str(answer)]) == 1
        assert "is not for the key" in capsys.readouterr().err
        files = stack.app.generations.files("ec")
        assert files is not None
        key = load_pem_private_key(files.next.key.read_bytes(), None)
        signed = make_ca("p256", "Test ec CA", issuer=stack.files.root, path_length=0, key=key)  # type: ignore[arg-type]
        answer.write_bytes(signed.pem)
        assert main([*arguments, "--certificate", str(answer), "--now"]) == 0
        followed(stack)
        assert stack.issuer().certificate.der == signed.certificate.public_bytes(Encoding.DER)
        leaf = stack.issue("after")
        check_certificate(leaf.der, stack.issuer().chain)
        assert not files.request.exists()
    finally:
        stack.close()


def test_rotating_twice(stack: Stack) -> None:
    """Each generation stays; the modes of the files do too."""
    keys = [key_of(stack)]
    for _ in range(2):
        assert rotate(stack, "--now") == 0
        keys.append(key_of(followed(stack)))
    assert len(set(keys)) == 3
    again = stack.restart()
    try:
        assert {one.key_identifier for one in again.app.issuers.all() if one.name == "rsa"} == set(keys)
        assert key_of(again) == keys[-1]
        modes = {path.stat().st_mode & 0o777 for path in stack.files.folder.glob("rsa.key*")}
        assert modes == {0o600}
    finally:
        stack.app = again.app


def test_the_date_can_be_moved(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """Run again, the command announces the same generation for another date."""
    assert rotate(stack, "--at", "2099-01-01") == 0
    coming = followed(stack).app.issuers.next("rsa")
    assert coming is not None
    capsys.readouterr()
    assert rotate(stack, "--at", "2098-06-01T12:00:00Z") == 0
    assert capsys.readouterr().out == f"rsa: {coming.key_identifier.hex()} signs from 2098-06-01T12:00:00Z\n"
    assert rotate(stack, "--at", "soon") == 1
    assert "is no date" in capsys.readouterr().err
    assert main(["ca", "rotate", "mldsa", "--config", str(stack.files.config)]) == 1
    assert "there is no issuing CA named 'mldsa'" in capsys.readouterr().err


def test_an_announcement_taken_back(stack: Stack) -> None:
    """A running server serves the generation no longer, and announces the one that is made instead."""
    app, scep = stack.app, SCEP(stack, scep_site(stack))
    before = result_of(app.est.ca_certificates(None))
    assert rotate(stack) == 0
    coming = followed(stack).app.issuers.next("rsa")
    assert coming is not None
    for path in (*stack.files.folder.glob("*.next"), stack.files.folder / "rsa.crt.rotation"):
        path.unlink()
    followed(stack)
    assert app.issuers.next("rsa") is None
    assert coming not in app.issuers.all()
    assert result_of(app.est.ca_certificates(None)) == before
    assert scep.get_scep("GetNextCACert").status == 404
    assert rotate(stack) == 0
    again = followed(stack).app.issuers.next("rsa")
    assert again is not None
    assert again.key_identifier != coming.key_identifier


def test_killed_at_any_step(stack: Stack, tmp_path: Path) -> None:
    """A process that dies between two renames leaves what the next start completes, and no generation is lost."""
    old = key_of(stack)
    rotate(stack, "--at", "2099-01-01")
    coming = followed(stack).app.issuers.next("rsa")
    assert coming is not None
    announced = stack.files.folder / "rsa.crt.rotation"
    announced.write_text(announced.read_text().replace("2099", "2020"))
    deaths = 0
    for step in range(40):
        folder = tmp_path / f"killed{step}"
        shutil.copytree(stack.files.folder, folder)
        result = subprocess.run([sys.executable, "-c", DYING, str(folder / "config.ini"), str(step)], check=False)
        assert result.returncode in (0, 9)
        files = stack.files.__class__(folder, stack.files.root, stack.files.issuers, folder / "config.ini")
        again = open_stack(files, stack.clock)
        try:
            assert key_of(again) == coming.key_identifier
            assert again.app.issuers.by_key_identifier(old) is not None
            check_certificate(again.issue("after").der, again.issuer().chain)
            assert not (folder / "rsa.crt.rotation").exists()
            assert not list(folder.glob("*.next"))
        finally:
            again.close()
        if result.returncode == 0:
            break
        deaths += 1
    assert 8 <= deaths < 40


def test_a_broken_next_generation(stack: Stack) -> None:
    """A next generation that can't sign is not switched to; the current one continues, and one line says why."""
    rotate(stack)
    old = key_of(stack)
    (stack.files.folder / "rsa.crt.next").write_bytes(make_ca("p256", "Other", slot=5).pem)
    stack.close()
    warnings: list[str] = []
    stack.clock.advance(31 * 86400)
    again = open_stack(stack.files, stack.clock, warn=warnings.append)
    stack.app = again.app
    assert key_of(again) == old
    assert any("is not the key of the certificate" in one for one in warnings)
    told = len(warnings)
    for _ in range(3):
        result_of(again.app.generations.update(again.app.issuers))
    assert len(warnings) <= told + 1


def test_an_unreadable_announcement(stack: Stack) -> None:
    """One line that names the file."""
    files = stack.app.generations.files("rsa")
    assert files is not None
    for text in ("", "{}", "[]", '{"switch_at": 5}', '{"switch_at": "2026-01-01T00:00:00"}', "\0"):
        files.announcement.write_text(text)
        with pytest.raises(ConfigError, match=r"rsa\.crt\.rotation can't be read"):
            files.announced()
    files.announcement.unlink()
