"""Looking before signing (RA-3), and what becomes of requests that are kept here (RA-1)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from pikachu.auth.authenticator import account_principal
from pikachu.core.errors import (
    BadPublicKey,
    Conflict,
    MalformedRequest,
    NotAuthorized,
    NotFound,
    PolicyViolation,
    ProofOfPossessionFailed,
    RetiredDevice,
)
from pikachu.core.model.certificates import CertificateRecord, Method, RevocationReason
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, AccountState, Principal, PrincipalKind, Role, Scope
from pikachu.core.model.policies import Approval, Policy, PolicyLimits
from pikachu.ra.enrollment import Issued, Pending
from pikachu.ra.policies import NO_EXTENSIONS_POLICY
from pikachu.ra.preview import Given, Preview
from pikachu.x509.certificate import parse_certificate
from pikachu.x509.extension_text import extension_text
from tests.support.deferreds import failure_of, result_of
from tests.support.pki import make_csr, make_name
from tests.support.stack import Stack, build_core

TEXTS = {
    "server": "[ v3_ext ]\nkeyUsage = critical, digitalSignature, keyEncipherment\nextendedKeyUsage = serverAuth\n",
    "encipher only": "[ v3_ext ]\nkeyUsage = keyEncipherment\n",
    "own names": "[ v3_ext ]\nsubjectAltName = DNS:fixed.example.com\n",
    "no names": "[ v3_ext ]\nsubjectAltName = email:copy\n",
    "identifiers": "[ v3_ext ]\nsubjectKeyIdentifier = none\nauthorityKeyIdentifier = keyid, issuer:always\n",
    "addresses": "[ v3_ext ]\nauthorityInfoAccess = OCSP;URI:${http_url}/ocsp\n"
    "crlDistributionPoints = URI:${http_url}/${ca}.crl\n",
    "critical names": "[ v3_ext ]\nbasicConstraints = CA:FALSE\nsubjectAltName = critical, DNS:a.example.com\n",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All three issuing CAs, with addresses, and a policy of each text."""
    changes = {("CA", "public_url"): "http://ca.example.com"}
    made = build_core(tmp_path_factory.mktemp("core"), key_types=("p256", "rsa2048", "mldsa44"), changes=changes)
    for name, text in TEXTS.items():
        result_of(made.app.policy_administration.add(SYSTEM, Policy(0, name, 30, text, system=True)))
    unhonoured = Policy(0, "unhonoured", 30, TEXTS["server"], system=True, limits=PolicyLimits(honour_names=False))
    result_of(made.app.policy_administration.add(SYSTEM, unhonoured))
    yield made
    made.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Stack]:
    """A fresh stack."""
    made = build_core(tmp_path)
    yield made
    made.close()


def person(stack: Stack, name: str, role: Role = Role.USER) -> Principal:
    """Somebody who has signed in."""
    account = result_of(
        stack.app.accounts.add_user(SYSTEM, name, f"{name}@example.com", role, AccountState.ACTIVE, "secret-1")
    )
    return account_principal(account, "192.0.2.9")


def preview(stack: Stack, csr: bytes | int, actor: Principal = SYSTEM, **more: Any) -> Preview:
    return result_of(stack.app.registration.preview(actor, csr, Method.UI, **more))


def sign(stack: Stack, csr: bytes | int, actor: Principal = SYSTEM, **more: Any) -> CertificateRecord:
    issued = result_of(stack.app.registration.sign(actor, csr, Method.UI, **more))
    assert isinstance(issued, Issued)
    return issued.record


def events(stack: Stack, resource_type: str) -> list[Any]:
    query = ListQuery(limit=100, sort="id", filters={"resource_type": resource_type})
    return [one.event for one in result_of(stack.app.store.events(query)).items]


def counts(stack: Stack) -> tuple[int | None, int | None, int | None]:
    """How many requests, certificates and events there are."""
    store = stack.app.store
    query = ListQuery(limit=1, count=True)
    certificates = result_of(store.certificates(query, stack.app.authority.now()))
    return result_of(store.requests(query)).total, certificates.total, result_of(store.events(query)).total


CSRS = {
    "plain": ("p256", "device.example.com", {}),
    "names": ("p256", "device.example.com", {"sans": ["DNS:device.example.com", "IP:192.0.2.1"]}),
    "names only": ("p256", make_name("x").__class__([]), {"sans": ["DNS:device.example.com"]}),
    "rsa": ("rsa2048", "device.example.com", {"challenge": "a secret word"}),
    "ed25519": ("ed25519", "device.example.com", {"sans": ["DNS:ed.example.com"]}),
    "mldsa": ("mldsa65", "device.example.com", {"sans": ["DNS:pqc.example.com"]}),
    "usages": (
        "p256",
        "device.example.com",
        {"extensions": [x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CODE_SIGNING]), x509.OCSPNoCheck()]},
    ),
}


@pytest.mark.parametrize("issuer", [None, "ec", "rsa", "mldsa"])
@pytest.mark.parametrize("policy", [None, NO_EXTENSIONS_POLICY, "unhonoured", *TEXTS])
@pytest.mark.parametrize("asked", CSRS)
def test_what_is_shown_is_what_is_signed(stack: Stack, asked: str, policy: str | None, issuer: str | None) -> None:
    """RA-3: extensions, names, validity and issuing CA of the certificate are those of the preview, or both refuse."""
    key_type, subject, more = CSRS[asked]
    _, csr = make_csr(key_type, subject, **more, slot=3)  # type: ignore[arg-type]
    before = counts(stack)
    shown = preview(stack, csr, policy=policy, issuer=issuer)
    assert counts(stack) == before
    if shown.refusal is not None:
        assert shown.given is None
        failure = failure_of(
            stack.app.registration.sign(SYSTEM, csr, Method.UI, policy=policy, issuer=issuer), type(shown.refusal)
        )
        assert failure.public == shown.refusal.public
        return
    given = shown.given
    assert given is not None
    record = sign(stack, csr, policy=policy, issuer=issuer)
    certificate = parse_certificate(record.der)
    assert [(one.oid, one.critical, one.text) for one in given.extensions] == [
        (one.oid, one.critical, extension_text(one)) for one in certificate.extensions
    ]
    assert (given.not_before, given.not_after) == (certificate.not_before, certificate.not_after)
    assert (given.subject, given.key, given.policy) == (record.subject, record.key_type, record.policy)
    assert stack.issuer(given.issuer).id == record.issuer_id
    assert events(stack, "certificate")[-1].details["issued_via"] == "UI"


def outcome(shown: Preview, oid: str) -> tuple[str, str]:
    return next((one.outcome, one.why) for one in shown.asked.extensions if one.oid == oid)


def origins(given: Given | None) -> dict[str, str]:
    assert given is not None
    return {one.oid: one.origin for one in given.extensions}


SAN, KEY_USAGE, PURPOSES = "2.5.29.17", "2.5.29.15", "2.5.29.37"


def test_where_it_comes_from(stack: Stack) -> None:
    """RA-3: the preview shows names granted, replaced and dropped, and the origin of each extension."""
    purposes = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CODE_SIGNING])
    _, csr = make_csr("p256", "device.example.com", ["DNS:a.example.com"], extensions=[purposes])
    bare = preview(stack, csr, policy=NO_EXTENSIONS_POLICY)
    assert outcome(bare, SAN)[0] == "granted"
    assert outcome(bare, PURPOSES)[0] == "dropped"
    assert origins(bare.given) | {SAN: "request", KEY_USAGE: "CA"} == origins(bare.given)
    assert "policy" not in origins(bare.given).values()
    server = preview(stack, csr, policy="server")
    assert outcome(server, PURPOSES) == ("replaced", "by the policy's")
    assert origins(server.given)[KEY_USAGE] == "policy"
    assert server.given is not None
    usage = next(one for one in server.given.extensions if one.oid == KEY_USAGE)
    assert usage.text == ("Digital Signature",)
    assert usage.why
    assert outcome(preview(stack, csr, policy="unhonoured"), SAN)[0] == "dropped"
    assert outcome(preview(stack, csr, policy="own names"), SAN)[0] == "replaced"


def test_no_extension_source(stack: Stack) -> None:
    """RA-1: with none, the certificate has what the CA always adds and the names asked for."""
    record = sign(stack, make_csr("p256", sans=["DNS:device.example.com"])[1], policy=NO_EXTENSIONS_POLICY)
    found = x509.load_der_x509_certificate(record.der).extensions
    assert {type(one.value) for one in found} == {
        x509.BasicConstraints,
        x509.SubjectAlternativeName,
        x509.KeyUsage,
        x509.SubjectKeyIdentifier,
        x509.AuthorityKeyIdentifier,
        x509.AuthorityInformationAccess,
        x509.CRLDistributionPoints,
    }
    assert record.policy == NO_EXTENSIONS_POLICY
    failure_of(stack.app.policy_administration.add(SYSTEM, Policy(0, "none", 1, "[ v3_ext ]\n", system=True)), Conflict)


def test_a_challenge_password_is_not_shown(stack: Stack) -> None:
    """The preview lists a challenge password among the attributes; its text appears nowhere."""
    shown = preview(stack, make_csr("p256", challenge="a secret word")[1])
    assert [one.name for one in shown.asked.attributes] == ["challengePassword"]
    assert "secret" not in repr(shown)


class TestRefusals:
    """RA-2: the preview shows the refusal that signing would give, with the requested fields."""

    def test_bad_signature(self, stack: Stack) -> None:
        csr = bytearray(make_csr("rsa2048")[1])
        csr[-1] ^= 1
        shown = preview(stack, bytes(csr))
        assert isinstance(shown.refusal, ProofOfPossessionFailed)
        assert (shown.asked.subject, shown.given) == ("CN=device.example.com", None)

    def test_weak_key(self, stack: Stack) -> None:
        weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
        shown = preview(stack, make_csr(key=weak)[1])
        assert isinstance(shown.refusal, BadPublicKey)
        assert "1024 bits" in shown.asked.key

    def test_validity_past_the_end_of_the_ca(self, stack: Stack) -> None:
        """Refused where it was asked for; shortened, and said so, where it is the policy's."""
        csr = make_csr()[1]
        shown = preview(stack, csr, days=30000)
        assert isinstance(shown.refusal, PolicyViolation)
        assert "outlive the issuing CA" in shown.refusal.public
        long = Policy(0, "long", 30000, TEXTS["server"], system=True)
        result_of(stack.app.policy_administration.add(SYSTEM, long))
        given = preview(stack, csr, policy="long").given
        assert given is not None
        assert given.not_after == stack.issuer().certificate.not_after
        assert "shortened" in given.remarks[0]

    @pytest.mark.parametrize("days", [0, -1, 36501])
    def test_no_validity(self, stack: Stack, days: int) -> None:
        assert isinstance(preview(stack, make_csr()[1], days=days).refusal, PolicyViolation)

    def test_limits_of_the_policy(self, stack: Stack) -> None:
        """POL-4."""
        limits = PolicyLimits(keys=("RSA",), max_days=40)
        result_of(
            stack.app.policy_administration.add(
                SYSTEM, Policy(0, "rsa only", 30, TEXTS["server"], system=True, limits=limits)
            )
        )
        assert "RSA" in str(preview(stack, make_csr()[1], policy="rsa only").refusal)
        csr = make_csr("rsa2048", slot=4)[1]
        assert preview(stack, csr, policy="rsa only", days=40).refusal is None
        assert "40 days" in str(preview(stack, csr, policy="rsa only", days=41).refusal)

    def test_somebody_elses_key(self, stack: Stack) -> None:
        """Checks against the database refuse a preview as they refuse signing."""
        carol, dave = person(stack, "carol1"), person(stack, "dave1")
        key, csr = make_csr()
        sign(stack, csr, carol)
        _, other = make_csr(subject="other.example.com", key=key)
        shown = preview(stack, other, dave)
        assert isinstance(shown.refusal, PolicyViolation)
        failure_of(stack.app.registration.sign(dave, other, Method.UI), PolicyViolation)
        assert preview(stack, other, carol).refusal is None

    def test_what_is_not_there(self, stack: Stack) -> None:
        """Unknown policies, issuing CAs and stored requests are not found; no request at all can't be read."""
        registration = stack.app.registration
        csr = make_csr()[1]
        failure_of(registration.preview(SYSTEM, csr, Method.UI, policy="nothing"), NotFound)
        failure_of(registration.preview(SYSTEM, csr, Method.UI, issuer="nothing"), NotFound)
        failure_of(registration.preview(SYSTEM, 10**6, Method.UI), NotFound)
        failure_of(registration.preview(SYSTEM, b"\x30\x00", Method.UI), MalformedRequest)

    def test_unreadable_extension(self, stack: Stack) -> None:
        """An extension of the request that is none is shown, and does not stop the request."""
        wrong = x509.UnrecognizedExtension(x509.ObjectIdentifier(KEY_USAGE), b"\x30\x00")
        _, csr = make_csr(extensions=[wrong])
        assert outcome(preview(stack, csr), KEY_USAGE) == ("replaced", "by the policy's")
        sign(stack, csr)


class TestStoredRequests:
    """A stored CSR's state follows the outcome of its request."""

    def test_signed(self, desk: Stack) -> None:
        """It is marked, with its certificate; an admin's signature leaves the certificate to who keeps the request."""
        alice, root = person(desk, "alice"), person(desk, "root", Role.ADMIN)
        stored = result_of(desk.app.requests.store(alice, "mine", make_csr()[1]))
        assert preview(desk, stored.id, root).given is not None
        record = sign(desk, stored.id, root)
        assert record.owner_id == alice.owner_id
        after = result_of(desk.app.requests.get(alice, stored.id))
        assert (after.state, after.certificate_id) == ("signed", record.id)
        event = events(desk, "CSR")[-1]
        assert (event.type, event.actor, event.owner_id) == ("sign", "root", alice.owner_id)
        assert event.details["certificate"] == f"{record.serial:x}"

    def test_others_do_not_see_it(self, desk: Stack) -> None:
        alice, bob = person(desk, "alice"), person(desk, "bob")
        stored = result_of(desk.app.requests.store(alice, "mine", make_csr()[1]))
        failure_of(desk.app.registration.sign(bob, stored.id, Method.UI), NotFound)
        failure_of(desk.app.registration.preview(bob, stored.id, Method.UI), NotFound)

    def test_rejected(self, desk: Stack) -> None:
        """By an admin, once, with a reason in the event; it is not signed any more."""
        alice, root = person(desk, "alice"), person(desk, "root", Role.ADMIN)
        registration = desk.app.registration
        stored = result_of(desk.app.requests.store(alice, "mine", make_csr()[1]))
        failure_of(registration.reject_csr(alice, stored.id, ""), NotAuthorized)
        failure_of(registration.reject_csr(root, stored.id, "a\nb"), MalformedRequest)
        assert result_of(registration.reject_csr(root, stored.id, " no ")).state == "rejected"
        assert events(desk, "CSR")[-1].details["reason"] == "no"
        failure_of(registration.reject_csr(root, stored.id, ""), Conflict)
        failure_of(registration.sign(alice, stored.id, Method.UI), Conflict)
        assert isinstance(preview(desk, stored.id, alice).refusal, Conflict)

    def test_waiting(self, desk: Stack) -> None:
        """EST-4: under a manual policy it is pending, and gets the decision later."""
        alice, root = person(desk, "alice"), person(desk, "root", Role.ADMIN)
        manual = Policy(0, "manual", 30, TEXTS["server"], system=True, approval=Approval.MANUAL)
        result_of(desk.app.policy_administration.add(root, manual))
        registration = desk.app.registration
        stored = [result_of(desk.app.requests.store(alice, f"r{number}", make_csr()[1])) for number in range(2)]
        assert preview(desk, stored[0].id, alice, policy="manual").given.needs_approval  # type: ignore[union-attr]
        waiting = [result_of(registration.sign(alice, one.id, Method.UI, policy="manual")) for one in stored]
        first, second = (one.request_id for one in waiting if isinstance(one, Pending))
        record = result_of(registration.approve(root, first))
        assert record is not None
        result_of(registration.reject(root, second, "no"))
        states = [result_of(desk.app.requests.get(alice, one.id)) for one in stored]
        assert [(one.state, one.certificate_id) for one in states] == [("signed", record.id), ("rejected", None)]
        assert [one.type for one in events(desk, "CSR")[-2:]] == ["sign", "reject"]
        assert events(desk, "request")[-1].owner_id == alice.owner_id

    def test_deleted_meanwhile(self, desk: Stack) -> None:
        """A pending request no longer needs the stored CSR."""
        manual = Policy(0, "manual", 30, TEXTS["server"], system=True, approval=Approval.MANUAL)
        result_of(desk.app.policy_administration.add(SYSTEM, manual))
        alice = person(desk, "alice")
        stored = result_of(desk.app.requests.store(alice, "mine", make_csr()[1]))
        waiting = result_of(desk.app.registration.sign(alice, stored.id, Method.UI, policy="manual"))
        assert isinstance(waiting, Pending)
        result_of(desk.app.requests.delete(alice, stored.id))
        record = result_of(desk.app.registration.approve(SYSTEM, waiting.request_id))
        assert record is not None
        assert record.owner_id == alice.owner_id


def test_approvals_are_previewed(desk: Stack) -> None:
    """EST-4: an approver sees the preview first; after the issuance it shows the certificate."""
    alice, bob = person(desk, "alice"), person(desk, "bob")
    manual = Policy(0, "manual", 30, TEXTS["server"], system=True, approval=Approval.MANUAL)
    policy = result_of(desk.app.policy_administration.add(SYSTEM, manual))
    registration = desk.app.registration
    waiting = [
        result_of(registration.sign(alice, make_csr(subject=name)[1], Method.API, policy="manual"))
        for name in ("a.example.com", "b.example.com", "c.example.com")
    ]
    first, second, third = (one.request_id for one in waiting if isinstance(one, Pending))
    shown = result_of(registration.preview_approval(alice, first))
    assert shown is not None
    assert shown.given is not None
    failure_of(registration.preview_approval(bob, first), NotFound)
    record = result_of(registration.approve(SYSTEM, first))
    assert record is not None
    certificate = parse_certificate(record.der)
    assert [(one.oid, one.text) for one in shown.given.extensions] == [
        (one.oid, extension_text(one)) for one in certificate.extensions
    ]
    assert result_of(registration.preview_approval(SYSTEM, first)) is None
    result_of(registration.reject(SYSTEM, second, ""))
    rejected = result_of(registration.preview_approval(SYSTEM, second))
    assert rejected is not None
    assert (rejected.asked.subject, rejected.given) == ("CN=b.example.com", None)
    result_of(desk.app.policy_administration.delete(SYSTEM, policy.id))
    orphan = result_of(registration.preview_approval(SYSTEM, third))
    assert orphan is not None
    assert isinstance(orphan.refusal, NotFound)


def test_default_validity(desk: Stack) -> None:
    """RA-4: an admin changes it in its file; further lines and the extensions stay."""
    rules, files = desk.app.policy_administration, desk.app.policies.files
    files.validity.write_text("# days\nshort = 7\ndefault = 365 # a year\n")
    desk.app.policies.forget()
    assert result_of(rules.default(person(desk, "alice"))).days == 365
    extensions = files.extensions.read_text()
    assert result_of(rules.set_default_validity(SYSTEM, 90)).days == 90
    assert files.validity.read_text() == "# days\nshort = 7\ndefault = 90 # a year\n"
    assert files.extensions.read_text() == extensions
    given = preview(desk, make_csr()[1]).given
    assert given is not None
    assert given.not_after - desk.app.authority.now() == timedelta(days=90, seconds=-1)
    assert events(desk, "policy")[-1].details["days"] == 90
    failure_of(rules.set_default_validity(person(desk, "bob"), 5), NotAuthorized)
    failure_of(rules.set_default_validity(SYSTEM, 0), PolicyViolation)
    assert result_of(rules.default(SYSTEM)).days == 90


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("365\n", "90\n"),
        ("365", "90\n"),
        ("first = 1\nother=2\n", "first = 90\nother=2\n"),
        ("a = 1\n\n9#x\n", "a = 1\n\n90 #x\n"),
    ],
)
def test_validity_file(desk: Stack, before: str, after: str) -> None:
    """POL-2: a bare number, or lines of which one counts."""
    desk.app.policies.files.validity.write_text(before)
    desk.app.policies.forget()
    assert result_of(desk.app.policy_administration.set_default_validity(SYSTEM, 90)).days == 90
    assert desk.app.policies.files.validity.read_text() == after


@pytest.mark.parametrize("kind", [PrincipalKind.CHALLENGE, PrincipalKind.CLIENT_CERTIFICATE])
def test_only_accounts_have_things_signed_here(desk: Stack, kind: PrincipalKind) -> None:
    """RA-1: a device that may enroll does so by EST and SCEP; it neither signs nor sees what its owner keeps."""
    owner = person(desk, "alice")
    kept = result_of(desk.app.requests.store(owner, "", make_csr()[1]))
    device = Principal(kind, "device", owner_id=owner.owner_id, scopes=frozenset({Scope.ENROLL}))
    failure_of(desk.app.registration.sign(device, kept.id, Method.UI), NotAuthorized)
    failure_of(desk.app.registration.sign(device, kept.der, Method.UI), NotAuthorized)
    failure_of(desk.app.registration.preview(device, kept.id, Method.UI), NotAuthorized)


def refusal(shown: Preview | None) -> str:
    """The words of a refusal; empty: the certificate is shown."""
    assert shown is not None
    return "" if shown.refusal is None else shown.refusal.public


def test_a_retired_device_is_refused_before(desk: Stack) -> None:
    """DEV-2: the preview says what issuance would, for the owner of the device; another's is another device."""
    alice, bob = person(desk, "alice"), person(desk, "bob")
    _, csr = make_csr(subject="pump-1")
    result_of(desk.app.registration.sign(alice, csr, Method.UI))
    (device,) = result_of(desk.app.store.devices(ListQuery(), desk.app.authority.now())).items
    assert refusal(preview(desk, csr, alice)) == ""
    result_of(desk.app.devices.retire(alice, device.id, RevocationReason.SUPERSEDED))
    _, other = make_csr(subject="PUMP-1", slot=2)
    issued = failure_of(desk.app.registration.sign(alice, other, Method.UI), RetiredDevice)
    assert refusal(preview(desk, other, alice)) == issued.public
    assert "is retired" in issued.public
    assert refusal(preview(desk, other, bob)) == ""
    result_of(desk.app.devices.reinstate(alice, device.id))
    assert refusal(preview(desk, other, alice)) == ""


def test_an_identity_that_is_not_listed_is_refused_before(desk: Stack) -> None:
    """DEV-3: the preview says what issuance and approval would, and records nothing."""
    lists, registration = desk.app.identity_lists, desk.app.registration
    result_of(lists.create(SYSTEM, "known", "pump-1"))
    for name, approval in (("listed", Approval.AUTOMATIC), ("waiting", Approval.MANUAL)):
        limits = PolicyLimits(identities="known")
        policy = Policy(0, name, 30, TEXTS["server"], system=True, limits=limits, approval=approval)
        result_of(desk.app.policy_administration.add(SYSTEM, policy))
    known, other = (make_csr(subject=name, slot=slot)[1] for slot, name in enumerate(("PUMP-1", "pump-2"), 1))
    events = result_of(desk.app.store.events(ListQuery())).items
    assert refusal(preview(desk, known, policy="listed")) == ""
    refused = refusal(preview(desk, other, policy="listed"))
    assert "“pump-2” is not on the list of identities “known”" in refused
    assert result_of(desk.app.store.events(ListQuery())).items == events, "nobody has tried to enroll it"
    assert failure_of(registration.sign(SYSTEM, other, Method.UI, policy="listed"), PolicyViolation).public == refused
    waiting = result_of(registration.sign(SYSTEM, known, Method.UI, policy="waiting"))
    assert isinstance(waiting, Pending)
    assert refusal(result_of(registration.preview_approval(SYSTEM, waiting.request_id))) == ""
    result_of(lists.replace(SYSTEM, 1, "pump-3"))
    unlisted = refusal(result_of(registration.preview_approval(SYSTEM, waiting.request_id)))
    assert failure_of(registration.approve(SYSTEM, waiting.request_id), PolicyViolation).public == unlisted
