"""CAR-1: OCSP for issuing CAs, by the root's responder, and what happens when a CA is revoked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from pikachu.cli.session import operator
from pikachu.core.errors import Conflict, IssuerRevoked, MalformedRequest, NotAuthorized, NotFound
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.people import SYSTEM
from pikachu.core.model.times import utc
from pikachu.protocols.ocsp.messages import decode_request
from pikachu.x509.certificate import Certificate, parse_certificate
from tests.support import ocsp
from tests.support.deferreds import failure_of, result_of
from tests.support.pki import Identity, digest_for, make_ca, make_key
from tests.support.stack import Stack, build_core, make_files, open_stack

DAY = 86400
ROOT_KEY = pytest.mark.parametrize("root_key_type", ["p256", "rsa2048"])


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Two issuing CAs, and the root's key."""
    made = build_core(tmp_path / "ca", key_types=("p256", "rsa2048"))
    yield made
    made.close()


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[Stack]:
    """Two issuing CAs whose root is elsewhere."""
    made = build_core(tmp_path / "ca", key_types=("p256", "rsa2048"), root_key=False)
    yield made
    made.close()


def root_of(stack: Stack) -> Certificate:
    """The root's certificate."""
    return parse_certificate(stack.files.root.der)


def status(stack: Stack, serial: int, issuer: Certificate) -> str:
    """Return the status of a verified answer: good, revoked or unknown."""
    cert_ids = decode_request(ocsp.request(ocsp.cert_id(issuer, serial))).cert_ids
    answer = result_of(stack.app.responder.answer(cert_ids, None))
    return ocsp.verify(answer.der, issuer, utc(stack.clock.seconds())).status


def serial_of(stack: Stack, name: str) -> int:
    """The serial number of an issuing CA's certificate."""
    return stack.issuer(name).certificate.serial


def responder_certificate(root: Identity, request: str, *, purposes: tuple[x509.ObjectIdentifier, ...]) -> Certificate:
    """Sign a responder's CSR as an offline root does."""
    csr = x509.load_pem_x509_csr(request.encode())
    assert csr.is_signature_valid
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(csr.subject)
        .issuer_name(root.certificate.subject)
        .public_key(csr.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=90))
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    )
    for extension in csr.extensions:
        if not isinstance(extension.value, x509.ExtendedKeyUsage):
            builder = builder.add_extension(extension.value, extension.critical)
    made = builder.sign(root.key, digest_for(root.key))
    return parse_certificate(made.public_bytes(Encoding.DER))


def root_crl(root: Identity, number: int, *entries: tuple[int, x509.ReasonFlags | None]) -> bytes:
    """A CRL of an offline root."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(root.certificate.subject)
        .last_update(now - timedelta(minutes=5))
        .next_update(now + timedelta(days=30))
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for serial, reason in entries:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - timedelta(hours=2))
        if reason is not None:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(root.key, digest_for(root.key)).public_bytes(Encoding.DER)


# --- the root's key is here ----------------------------------------------------------------


@ROOT_KEY
def test_the_root_answers_for_issuing_cas(tmp_path: Path, root_key_type: str) -> None:
    """A delegated responder of the root says good; the root itself is no OCSP subject."""
    stack = build_core(tmp_path / "ca", key_types=("p256", "rsa2048"), root_key_type=root_key_type)
    root = root_of(stack)
    for name in ("ec", "rsa"):
        assert status(stack, serial_of(stack, name), root) == "good"
    assert status(stack, root.serial, root) == "unknown"
    assert status(stack, 12345678901, root) == "unknown"
    stack.close()


def test_a_revoked_ca_issues_nothing(stack: Stack) -> None:
    """Its root's CRL and OCSP say so at once; its own CRL and OCSP go on, without a new certificate of its own."""
    root, issuer = root_of(stack), stack.issuer("rsa")
    leaf = stack.issue(ca="rsa", days=300)
    result_of(stack.app.responder.prepare())
    assert status(stack, issuer.certificate.serial, root) == "good"
    stack.revoke(issuer.certificate.serial, RevocationReason.CA_COMPROMISE)
    assert status(stack, issuer.certificate.serial, root) == "revoked"
    stack.clock.advance(0)
    root_ca = stack.app.issuers.by_key_identifier(root.key_identifier)
    assert root_ca is not None
    crl = x509.load_der_x509_crl(stack.app.publisher.published(root_ca).der_path.read_bytes())
    assert [one.serial_number for one in crl] == [issuer.certificate.serial]
    with pytest.raises(IssuerRevoked, match="rsa was revoked"):
        stack.issue(ca="rsa", key=make_key("p256"))
    assert stack.issue(ca="ec", key=make_key("p256")).record.status(stack.app.authority.now()).value == "valid"
    stack.clock.advance(100 * DAY)
    stack = stack.restart()
    assert stack.issuer("rsa").revoked_at is not None
    assert status(stack, leaf.serial, stack.issuer("rsa").certificate) == "good"
    stack.revoke(leaf)
    assert status(stack, leaf.serial, stack.issuer("rsa").certificate) == "revoked"
    published = result_of(stack.app.publisher.make(stack.issuer("rsa")))
    assert published.entries == 1
    stack.close()


def test_another_process_is_believed(stack: Stack) -> None:
    """The transaction decides, even where this process has not heard of the revocation yet."""
    other = open_stack(stack.files, stack.clock)
    other.revoke(serial_of(other, "ec"))
    assert stack.issuer("ec").revoked_at is None
    with pytest.raises(IssuerRevoked):
        stack.issue(ca="ec")
    result_of(stack.app.store.announce_changes(0))
    assert stack.issuer("ec").revoked_at is not None
    other.close()


def test_a_hold_is_released(stack: Stack) -> None:
    """A CA that was on hold issues again."""
    serial = serial_of(stack, "ec")
    stack.revoke(serial, RevocationReason.CERTIFICATE_HOLD)
    with pytest.raises(IssuerRevoked):
        stack.issue()
    result_of(stack.app.authority.release(serial, SYSTEM))
    stack.issue()
    assert status(stack, serial, root_of(stack)) == "good"


# --- the root is offline -------------------------------------------------------------------


def test_an_offline_root_needs_a_responder(offline: Stack) -> None:
    """Without one the answer is unauthorized; with one it is the root's, here and after a restart."""
    root, serial = root_of(offline), serial_of(offline, "ec")
    cert_ids = decode_request(ocsp.request(ocsp.cert_id(root, serial))).cert_ids
    failure_of(offline.app.responder.answer(cert_ids, None), NotAuthorized)
    request = result_of(offline.app.offline.request(operator()))
    certificate = responder_certificate(offline.files.root, request, purposes=(ExtendedKeyUsageOID.OCSP_SIGNING,))
    result_of(offline.app.offline.install(operator(), certificate))
    assert status(offline, serial, root) == "good"
    assert status(offline, root.serial, root) == "unknown"
    again = offline.restart()
    assert status(again, serial, root) == "good"
    again.clock.advance(91 * DAY)
    failure_of(again.app.responder.answer(cert_ids, None), NotAuthorized)
    again.close()


def test_a_renewed_responder_takes_over(offline: Stack) -> None:
    """The newest certificate answers, also where another process has installed it."""
    root, serial = root_of(offline), serial_of(offline, "ec")
    other = open_stack(offline.files, offline.clock)
    seen = []
    for _ in range(2):
        request = result_of(other.app.offline.request(operator()))
        certificate = responder_certificate(other.files.root, request, purposes=(ExtendedKeyUsageOID.OCSP_SIGNING,))
        result_of(other.app.offline.install(operator(), certificate))
        result_of(offline.app.store.announce_changes(0))
        cert_ids = decode_request(ocsp.request(ocsp.cert_id(root, serial))).cert_ids
        # With a nonce, so that it is none that the former responder has signed.
        answer = result_of(offline.app.responder.answer(cert_ids, b"nonce of a client"))
        seen.append(ocsp.verify(answer.der, root, utc(offline.clock.seconds())).responder.serial)
        assert seen[-1] == certificate.serial
    assert len(set(seen)) == 2
    other.close()


def test_what_is_no_responder_is_refused(offline: Stack) -> None:
    """Another issuer, another purpose, another key, out of date: each with its reason."""
    root = offline.files.root
    signing = (ExtendedKeyUsageOID.OCSP_SIGNING,)
    request = result_of(offline.app.offline.request(operator()))
    good = responder_certificate(root, request, purposes=signing)
    cases = [
        (
            responder_certificate(offline.files.issuers["ec"], request, purposes=signing),
            MalformedRequest,
            "issued this",
        ),
        (
            responder_certificate(root, request, purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,)),
            MalformedRequest,
            "OCSPSigning",
        ),
        (parse_certificate(offline.files.issuers["ec"].der), MalformedRequest, "OCSPSigning"),
    ]
    for certificate, error, words in cases:
        with pytest.raises(error, match=words):
            result_of(offline.app.offline.install(operator(), certificate))
    foreign = build_core(offline.files.folder.parent / "other")
    with pytest.raises(Conflict, match="on this server"):
        result_of(foreign.app.offline.request(operator()))
    foreign.close()
    offline.clock.advance(100 * DAY)
    with pytest.raises(MalformedRequest, match="not valid now"):
        result_of(offline.app.offline.install(operator(), good))


def test_a_key_from_elsewhere_is_refused(offline: Stack) -> None:
    """The private key must be here."""
    key = make_key("p256")
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, digest_for(key))
    certificate = responder_certificate(
        offline.files.root, request.public_bytes(Encoding.PEM).decode(), purposes=(ExtendedKeyUsageOID.OCSP_SIGNING,)
    )
    with pytest.raises(NotFound, match="No key here"):
        result_of(offline.app.offline.install(operator(), certificate))


def test_only_the_offline_root_revokes(offline: Stack) -> None:
    """Here it is refused with what to do; the root's CRL does it, and only that ends a hold."""
    serials = {name: serial_of(offline, name) for name in ("ec", "rsa")}
    with pytest.raises(Conflict, match="upload"):
        offline.revoke(serials["ec"])
    hold, superseded = x509.ReasonFlags.certificate_hold, x509.ReasonFlags.superseded
    root = offline.files.root
    result_of(offline.app.publisher.uploads.upload(operator(), root_crl(root, 1, (serials["ec"], hold), (99, None))))
    with pytest.raises(IssuerRevoked):
        offline.issue()
    with pytest.raises(Conflict, match="upload"):
        result_of(offline.app.authority.release(serials["ec"], SYSTEM))
    record = result_of(offline.app.store.certificate_by_serial(serials["ec"]))
    assert record.reason is RevocationReason.CERTIFICATE_HOLD
    assert record.revoked_at is not None
    assert record.revoked_at < offline.app.authority.now() - timedelta(hours=1)
    result_of(offline.app.publisher.uploads.upload(operator(), root_crl(root, 2, (serials["rsa"], superseded))))
    offline.issue()
    with pytest.raises(IssuerRevoked):
        offline.issue(ca="rsa", key=make_key("p256"))
    result_of(offline.app.publisher.uploads.upload(operator(), root_crl(root, 3)))
    with pytest.raises(IssuerRevoked):
        offline.issue(ca="rsa", key=make_key("p256"))


def test_an_earlier_upload_counts_at_start(offline: Stack) -> None:
    """A CRL that an earlier version published revokes the CA when the server looks at its CRLs."""
    crl = root_crl(offline.files.root, 4, (serial_of(offline, "ec"), None))
    result_of(offline.app.publisher.uploads.accept(crl))
    offline.issue()
    again = offline.restart()
    result_of(again.app.publisher.begin())
    with pytest.raises(IssuerRevoked):
        again.issue("other.example.com", key=make_key("p256"))
    again.close()


def test_a_ca_above_that_is_revoked_ends_the_issuing_ca(tmp_path: Path) -> None:
    """A certificate below it would be valid for nobody; the root's CRL says so, and ends a hold."""
    files = make_files(tmp_path / "ca", ("p256", "rsa2048"), root_key=False)
    root = make_ca("p256", "Long chain's root", slot=14)
    above = make_ca("p256", "Test policy CA", issuer=root, slot=15)
    below = make_ca("p256", "Test ec CA", issuer=above, path_length=0, slot=16)
    beside = make_ca("rsa2048", "Test rsa CA", issuer=root, path_length=0, slot=12)
    root.write(files.folder, "root")
    for name, issuer in (("ec", below), ("rsa", beside)):
        issuer.write(files.folder, name)
        (files.folder / f"{name}-chain.crt").write_bytes(issuer.chain_pem)
    below.write(files.folder, "https")
    stack = open_stack(files)
    other = open_stack(files, stack.clock, process="other")
    hold, serial = x509.ReasonFlags.certificate_hold, above.certificate.serial_number
    stack.issue()
    result_of(stack.app.publisher.uploads.upload(operator(), root_crl(root, 1, (serial, hold))))
    for one in (stack, other):
        with pytest.raises(IssuerRevoked, match="ec was revoked, or a CA above it"):
            one.issue()
    assert stack.issuer().revoked_at is not None
    # The transaction decides, even where this process has not heard of the revocation yet.
    assert other.issuer().revoked_at is None
    other.close()
    stack.issue("beside.example.com", ca="rsa", key=make_key("p256"))
    result_of(stack.app.publisher.uploads.upload(operator(), root_crl(root, 2)))
    stack.issue()
    compromise = x509.ReasonFlags.ca_compromise
    for number in (3, 4):
        result_of(stack.app.publisher.uploads.upload(operator(), root_crl(root, number, (serial, compromise))))
    stack = stack.restart()
    assert stack.issuer().revoked_at is not None
    with pytest.raises(IssuerRevoked):
        stack.issue()
    stack.close()
