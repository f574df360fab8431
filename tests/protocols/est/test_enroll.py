"""simpleenroll: authorization and responses (RFC 7030 section 4.2; EST-1, EST-2)."""

from __future__ import annotations

import base64
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pikachu.core.model.certificates import CertificateStatus
from pikachu.core.model.events import Event
from pikachu.core.model.people import SYSTEM, AccountState, Credentials, Role
from pikachu.core.model.policies import Approval
from pikachu.server.listeners import ClientCertificates
from tests.protocols.est.refusals import refused
from tests.support.databases import NOW
from tests.support.deferreds import result_of
from tests.support.est import EST, PASSWORD, basic, certificates_in, est_server, path
from tests.support.pki import KEY_TYPES, make_csr, spki
from tests.support.text_forms import TEXT_FORMS

DER = Encoding.DER


def test_basic(est: EST) -> None:
    """EST-1: an account's password; names of the request; owner and method are known."""
    key, csr = make_csr(sans=["DNS:device.example.com", "IP:192.0.2.9"])
    response = est.enroll(csr, user="alice")
    found = est.certificate(response)
    assert found.subject.rfc4514_string() == "CN=device.example.com"
    assert found.public_key().public_bytes(DER, PublicFormat.SubjectPublicKeyInfo) == spki(key)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["device.example.com"]
    assert response.headers["Content-Transfer-Encoding"] == "base64"
    assert response.headers["Cache-Control"] == "no-store"
    record = result_of(est.stack.app.store.certificate_by_serial(found.serial_number))
    alice = result_of(est.stack.app.store.account_by_name("alice"))
    assert alice is not None
    assert (record.owner_id, record.method, record.status(est.stack.app.authority.now())) == (
        alice.id,
        "EST",
        CertificateStatus.VALID,
    )


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_key_types(est: EST, key_type: str) -> None:
    """PQC-1: every kind of key, ML-DSA among them."""
    key, csr = make_csr(key_type)
    found = est.certificate(est.enroll(csr, user="alice"))
    assert found.public_key() == key.public_key()


@pytest.mark.parametrize("ca_type", ["rsa2048", "p384", "mldsa44", "mldsa65", "mldsa87"])
@pytest.mark.parametrize("key_type", ["p256", "mldsa65"])
def test_issuing_cas(tmp_path: Path, ca_type: str, key_type: str) -> None:
    """PQC-1: every kind of issuing CA, ML-DSA below an ML-DSA root."""
    root = ca_type if ca_type.startswith("mldsa") else "p256"
    with est_server(tmp_path, key_types=[ca_type], root_key_type=root) as est:
        est.account("alice")
        _, csr = make_csr(key_type)
        found = est.certificate(est.enroll(csr, user="alice"))
        (issuer, *_) = [one for one in certificates_in(est.get("cacerts").body) if one.subject == found.issuer]
        found.verify_directly_issued_by(issuer)


# --- bodies -----------------------------------------------------------------------------------


def pem(csr: bytes, word: str = "", end: str = "\n") -> bytes:
    lines = [f"-----BEGIN {word}CERTIFICATE REQUEST-----"]
    text = base64.b64encode(csr).decode()
    lines += [text[start : start + 64] for start in range(0, len(text), 64)]
    return end.join([*lines, f"-----END {word}CERTIFICATE REQUEST-----", ""]).encode()


@pytest.mark.parametrize("form", ["base64", "wrapped", "crlf", "pem", "pem crlf", "new pem", "spaced"])
def test_text_bodies(est: EST, form: str) -> None:
    """Base64 with any line ends, PEM; answered in base64."""
    _, csr = make_csr()
    wrapped = base64.encodebytes(csr)
    body = {
        "base64": base64.b64encode(csr),
        "wrapped": wrapped,
        "crlf": wrapped.replace(b"\n", b"\r\n"),
        "pem": pem(csr),
        "pem crlf": pem(csr, end="\r\n"),
        "new pem": pem(csr, "NEW "),
        "spaced": b" \t" + base64.b64encode(csr) + b"\r\n",
    }[form]
    response = est.send(path("simpleenroll"), body=body, headers=basic("alice"))
    est.certificate(response)
    assert response.headers["Content-Transfer-Encoding"] == "base64"
    assert b"\n" not in response.body


@pytest.mark.parametrize("form", TEXT_FORMS)
def test_text_forms(est: EST, form: str) -> None:
    """Every form that a program may send, under the label of Windows and keytool too; answered in base64."""
    for label in ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"):
        body = TEXT_FORMS[form](label, make_csr()[1])
        response = est.send(path("simpleenroll"), body=body, headers=basic("alice"))
        est.certificate(response)
        assert response.headers["Content-Transfer-Encoding"] == "base64"


def test_der_in_der_out(est: EST) -> None:
    """A raw DER request is answered in raw DER."""
    _, csr = make_csr()
    response = est.send(path("simpleenroll"), body=csr, headers=basic("alice"))
    est.certificate(response)
    assert response.body[:1] == b"\x30"
    assert "Content-Transfer-Encoding" not in response.headers


@pytest.mark.parametrize("encoding", ["binary", "quoted-printable", "7bit", "base64", "nonsense"])
def test_transfer_encoding_says_nothing(est: EST, encoding: str) -> None:
    """RFC 8951 section 3.1: the header is to be ignored."""
    _, csr = make_csr()
    est.certificate(est.enroll(csr, user="alice", headers={"Content-Transfer-Encoding": encoding}))


@pytest.mark.parametrize("kind", ["application/pkcs10", "Application/PKCS10", "application/pkcs10; charset=x", ""])
def test_content_types(est: EST, kind: str) -> None:
    """Without regard to case and parameters; none at all will do."""
    _, csr = make_csr()
    est.certificate(est.enroll(csr, user="alice", headers={"Content-Type": kind}))


# --- credentials ------------------------------------------------------------------------------


def test_anonymous(est: EST) -> None:
    """EST-2: 401 with the challenge, for each operation that enrolls."""
    _, csr = make_csr()
    for operation in ("simpleenroll", "simplereenroll", "serverkeygen"):
        refused(est.enroll(csr, operation), 401)
    assert est.issued() == 0


def test_credentials_come_first(est: EST) -> None:
    """The error of a request is reported only to an authenticated client."""
    refused(est.send(path("simpleenroll"), body=b"garbage"), 401)
    refused(est.send(path("simpleenroll"), body=b""), 401)
    refused(est.send(path("simpleenroll"), body=b"garbage", headers=basic("alice", "wrong")), 401)
    refused(est.send(path("simpleenroll"), body=b"garbage", headers=basic("alice")), 400)


def test_wrong_passwords(est: EST) -> None:
    """One answer for a wrong password and an unknown user; then 429."""
    _, csr = make_csr()
    wrong = est.enroll(csr, headers=basic("alice", "wrong"))
    unknown = est.enroll(csr, headers=basic("nobody", "wrong"))
    assert refused(wrong, 401) == refused(unknown, 401)
    for _ in range(9):
        est.enroll(csr, headers=basic("alice", "wrong"))
    locked = est.enroll(csr, user="alice")
    refused(locked, 429)
    assert int(locked.headers["Retry-After"]) > 0
    est.stack.clock.advance(3600)
    assert est.enroll(csr, user="alice").status == 200


def test_inactive_accounts(est: EST) -> None:
    """Accounts that wait for an admin or are suspended have no password that counts."""
    _, csr = make_csr()
    est.account("waiting", state=AccountState.PENDING)
    refused(est.enroll(csr, user="waiting"), 401)


@pytest.mark.parametrize(
    "change",
    [{"password_hash": None}, {"state": AccountState.SUSPENDED}, {"state": AccountState.PENDING}],
    ids=["password", "suspended", "pending"],
)
@pytest.mark.parametrize("approval", list(Approval))
def test_changed_accounts(est: EST, change: dict[str, Any], approval: Approval) -> None:
    """A cached account that was changed since, on any node, enrolls nothing."""
    alice = est.account("bob").owner_id
    assert alice is not None
    est.policy("policy", approval=approval)
    status = 200 if approval is Approval.AUTOMATIC else 202
    assert est.enroll(make_csr(subject="one.example.com")[1], label="policy", user="bob").status == status
    assert est.enroll(make_csr(subject="two.example.com")[1], label="policy", user="bob").status == status
    changed = Event("edit", "user", "bob", "admin", about_account=True)
    result_of(est.stack.app.store.change_account(alice, lambda one: (replace(one, **change), changed), NOW))
    refused(est.enroll(make_csr(subject="three.example.com")[1], label="policy", user="bob"), 401)
    assert len(est.approvals()) + est.issued() == 2


def test_cached_accounts(est: EST) -> None:
    """An account is cached for a second, and authenticates only with the password that was verified."""
    cached = est.stack.app.authenticator.cached
    right = Credentials(address="192.0.2.1", username="alice", password=PASSWORD)
    assert cached(right) is None
    assert est.enroll(make_csr()[1], user="alice").status == 200
    principal = cached(right)
    assert principal is not None
    assert principal.cached_account is not None
    assert (principal.name, principal.owner_id) == ("alice", principal.cached_account.id)
    assert cached(replace(right, password="wrong")) is None
    assert cached(replace(right, peer_certificate=b"another way")) is None
    est.stack.clock.advance(1)
    assert cached(right) is None


@pytest.mark.parametrize("operation", ["simpleenroll", "serverkeygen"])
@pytest.mark.parametrize(("role", "status"), [(Role.OPERATOR, 200), (Role.AUDITOR, 403)])
def test_roles(est: EST, operation: str, role: Role, status: int) -> None:
    """ROL-1: auditors get no certificate, neither by their own password nor right after they became auditors."""
    account = est.account("bob").owner_id
    assert account is not None
    enroll = partial(est.send, path(operation), headers=basic("bob"))
    assert enroll(body=make_csr(subject="before.example.com")[1]).status == 200
    result_of(est.stack.app.accounts.update(SYSTEM, account, role=role))
    for name in ("after", "again"):
        assert enroll(body=make_csr(subject=f"{name}.example.com")[1]).status == status
    assert est.issued() == (1 if status == 403 else 3)


@pytest.mark.parametrize(
    "value",
    [
        "Basic !!!",
        "Basic",
        "Basic " + base64.b64encode(b"alice").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        "Basic " + base64.b64encode(b"alice:a\0b").decode(),
        "Basic " + base64.b64encode(b":").decode(),
        "Basic " + base64.b64encode(b":secret").decode(),
        "Bearer abc",
        'Digest username="alice", realm="estrealm", nonce="x", uri="/", response="y"',
        "Negotiate abc",
    ],
)
def test_hostile_authorization(est: EST, value: str) -> None:
    """401, and the usual challenge."""
    _, csr = make_csr()
    refused(est.enroll(csr, headers={"Authorization": value}), 401)


def test_long_authorization(est: EST) -> None:
    """400, from the HTTP layer or from here."""
    _, csr = make_csr()
    assert est.enroll(csr, headers={"Authorization": "Basic " + "A" * 5000}).status == 400
    assert est.enroll(csr, headers={"Authorization": "Basic " + "A" * 1_000_000}).status == 400


def test_anonymous_enroll(tmp_path: Path) -> None:
    """EST-2: the switch for laboratories; nobody owns the certificate."""
    with est_server(tmp_path, changes={("EST", "anonymous_enroll"): "true"}) as est:
        _, csr = make_csr()
        found = est.certificate(est.enroll(csr))
        record = result_of(est.stack.app.store.certificate_by_serial(found.serial_number))
        assert record.owner_id is None
        assert est.events("create")[-1].event.actor == "anonymous"
        refused(est.send(path("simpleenroll"), body=b"garbage"), 400)
        # Evidence that proves nothing is not passed over.
        refused(est.enroll(csr, headers=basic("alice", "x")), 401)
        # The switch is no right to renew.
        refused(est.enroll(csr, "simplereenroll"), 403)


@pytest.mark.parametrize("clients", [ClientCertificates.OPTIONAL, ClientCertificates.REQUIRED])
def test_client_certificate(est: EST, clients: ClientCertificates) -> None:
    """A certificate of this CA enrolls another subject; its owner owns that too."""
    alice = est.account("bob")
    device = est.identity(owner_id=alice.owner_id)
    _, csr = make_csr(subject="another.example.com")
    found = est.certificate(est.enroll(csr, tls=est.connect(device, clients=clients)))
    record = result_of(est.stack.app.store.certificate_by_serial(found.serial_number))
    assert record.owner_id == alice.owner_id
    event = est.events("create")[-1].event
    assert event.details["authenticated_by"] == "client certificate"
    assert event.details["client_certificate"] == f"{device.certificate.serial_number:x}"


def test_certificate_before_password(est: EST) -> None:
    """The client certificate decides, also when a password comes along."""
    device = est.identity()
    _, csr = make_csr()
    response = est.enroll(csr, headers=basic("alice", "wrong"), tls=est.connect(device))
    est.certificate(response)


def test_not_asked_for_a_certificate(est: EST) -> None:
    """A listener that does not ask for a certificate gets none."""
    _, csr = make_csr()
    tls = est.connect(est.identity(), clients=ClientCertificates.NONE)
    refused(est.enroll(csr, tls=tls), 401)
    est.certificate(est.enroll(csr, user="alice", tls=tls))


# --- repetition -------------------------------------------------------------------------------


def test_repeats(est: EST) -> None:
    """The same identity and request within 10 minutes give the same certificate."""
    _, csr = make_csr()
    est.account("bob")
    first = est.certificate(est.enroll(csr, user="alice"))
    assert est.certificate(est.enroll(csr, user="alice")) == first
    est.stack.clock.advance(590)
    assert est.certificate(est.enroll(csr, user="alice")) == first
    assert est.issued() == 1
    # Somebody else's key is not certified for bob (the same subject may have it again).
    assert est.enroll(csr, user="bob").status == 200
    est.stack.clock.advance(20)
    assert est.certificate(est.enroll(csr, user="alice")) != first
    assert est.issued() == 3


def test_foreign_key(est: EST) -> None:
    """Another owner's key under another name is refused."""
    est.account("bob")
    key, csr = make_csr()
    est.certificate(est.enroll(csr, user="alice"))
    _, other = make_csr(subject="bob.example.com", key=key)
    refused(est.enroll(other, user="bob"), 400)
