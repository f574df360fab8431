"""Certificates for names: keys are neither lost nor left behind (ISS-1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

import pytest
from cryptography import x509

from pikachu.auth.authenticator import account_principal
from pikachu.ca.issuance import CertificateAuthority
from pikachu.core.errors import MalformedRequest, NotAuthorized, NotFound, PolicyViolation, StoreUnavailable
from pikachu.core.model.account_objects import StoredKey
from pikachu.core.model.certificates import Method
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, AccountState, Principal, Role
from pikachu.core.model.policies import Policy, PolicyLimits
from pikachu.inventory.new_certificates import (
    CertificateNames,
    CertificateOrder,
    GeneratedKey,
    NewCertificates,
    OrderedCertificate,
)
from pikachu.ra.enrollment import Issued
from pikachu.server.registration import build_registration
from pikachu.x509.keys import KEY_NAMES
from pikachu.x509.placeholder_keys import placeholder_public_key
from pikachu.x509.spki import describe_spki
from tests.support.deferreds import failure_of, result_of
from tests.support.faults import FaultyStore
from tests.support.stack import DEFAULT_EXTENSIONS, Stack, build_core

NAMES = CertificateNames.of("CN=pump.example.com,O=Example", ["DNS:pump.example.com", "IP:192.0.2.1"])
ED25519 = GeneratedKey("ed25519")


@dataclass
class Place:
    """The operation over a store that fails on demand, and a user."""

    stack: Stack
    store: Any
    certificates: NewCertificates
    alice: Principal

    def issue(self, order: CertificateOrder, key: str | None = None) -> Deferred[OrderedCertificate]:
        return self.certificates.issue(self.alice, order, Method.API, key)

    def stored_keys(self) -> list[StoredKey]:
        return list(result_of(self.stack.app.store.keys(ListQuery())).items)

    def events(self, resource: str) -> list[str]:
        page = result_of(self.stack.app.store.events(ListQuery(filters={"resource_type": resource})))
        return [record.event.type for record in reversed(page.items)]


def person(stack: Stack, name: str, role: Role = Role.USER) -> Principal:
    account = result_of(
        stack.app.accounts.add_user(SYSTEM, name, f"{name}@example.com", role, AccountState.ACTIVE, "correct horse")
    )
    return account_principal(account, "192.0.2.1")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    stack = build_core(tmp_path)
    app, store = stack.app, FaultyStore(stack.app.store)
    faulty: Any = store
    authority = CertificateAuthority(stack.clock, faulty, app.issuers, "server:test")
    registration = build_registration(app.config, faulty, authority, app.policies, app.authenticator).accounts
    certificates = NewCertificates(registration=registration, keys=app.keys, store=faulty, pool=app.pools.keys)
    yield Place(stack, store, certificates, person(stack, "alice"))
    stack.close()


def issued(ordered: OrderedCertificate) -> Issued:
    assert isinstance(ordered.result, Issued)
    return ordered.result


def test_a_new_key(place: Place) -> None:
    """The certificate has the names; its key is stored for the same account, by the certificate's name."""
    ordered = result_of(place.issue(CertificateOrder(NAMES, ED25519)))
    record = issued(ordered).record
    certificate = x509.load_der_x509_certificate(record.der)
    assert certificate.subject.rfc4514_string() == "CN=pump.example.com,O=Example"
    sans = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert not sans.critical
    assert sans.value.get_values_for_type(x509.DNSName) == ["pump.example.com"]
    assert ordered.key is not None
    assert (ordered.key.name, ordered.key.owner_id) == ("pump.example.com", place.alice.owner_id)
    assert ordered.key.key_id == record.key_id
    assert record.owner_id == place.alice.owner_id
    assert place.events("key") == ["create"]


def test_without_a_subject(place: Place) -> None:
    """An empty subject makes the subjectAltName critical (RFC 5280 section 4.2.1.6)."""
    names = CertificateNames.of("", ["URI:spiffe://example.com/pump"])
    record = issued(result_of(place.issue(CertificateOrder(names, GeneratedKey("ed25519", "pump"))))).record
    certificate = x509.load_der_x509_certificate(record.der)
    assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
    assert [key.name for key in place.stored_keys()] == ["pump"]


def test_without_names() -> None:
    """A certificate needs a name."""
    with pytest.raises(MalformedRequest, match="Enter a subject or"):
        CertificateNames.of(" ", [])


def test_a_stored_key(place: Place) -> None:
    """One of the account's own keys; no other is generated."""
    key = result_of(place.stack.app.keys.generate(place.alice, "mine", "prime256v1"))
    ordered = result_of(place.issue(CertificateOrder(NAMES, key.id)))
    assert ordered.key == key
    assert place.stored_keys() == [key]


def test_foreign_keys(place: Place) -> None:
    """Another account's key does not exist for a user, and is refused to an administrator."""
    key = result_of(place.stack.app.keys.generate(place.alice, "mine", "ed25519"))
    bob, root = person(place.stack, "bob"), person(place.stack, "root", Role.ADMIN)
    order = CertificateOrder(NAMES, key.id)
    failure_of(place.certificates.issue(bob, order, Method.API), NotFound)
    failure_of(place.certificates.issue(root, order, Method.API), NotAuthorized)
    failure_of(place.certificates.preview(bob, order, Method.API), NotFound)
    failure_of(place.certificates.preview(root, order, Method.API), NotAuthorized)


def test_a_refusal_leaves_no_key(place: Place) -> None:
    """A policy decides as for a CSR, before the key is stored."""
    limits = PolicyLimits(keys=("EC",), names=("DNS:*.example.org",))
    policy = Policy(0, "narrow", 20, DEFAULT_EXTENSIONS, system=True, limits=limits)
    result_of(place.stack.app.policy_administration.add(SYSTEM, policy))
    failure_of(place.issue(CertificateOrder(NAMES, ED25519, "narrow")), PolicyViolation)
    failure_of(place.issue(CertificateOrder(NAMES, GeneratedKey("prime256v1"), "narrow")), PolicyViolation)
    failure_of(place.issue(CertificateOrder(NAMES, ED25519, "missing")), NotFound)
    failure_of(place.issue(CertificateOrder(NAMES, ED25519, issuer="missing")), NotFound)
    assert (place.stored_keys(), place.events("key")) == ([], [])


def test_a_failure_deletes_the_key(place: Place) -> None:
    """A failure after the key was stored deletes it again; the audit log has both."""
    place.store.failing["begin"] = 1
    failure_of(place.issue(CertificateOrder(NAMES, ED25519)), StoreUnavailable)
    assert (place.stored_keys(), place.events("key")) == ([], ["create", "delete"])


@pytest.mark.parametrize("after", [False, True])
def test_an_unknown_result_keeps_the_key(place: Place, after: bool) -> None:
    """The certificate may exist: its key stays, and the error says so.  A repetition gets a certificate with a key."""
    place.store.failing["complete"] = 1
    place.store.after = after
    error = failure_of(place.issue(CertificateOrder(NAMES, ED25519), "once"), StoreUnavailable)
    (kept,) = place.stored_keys()
    assert f"The new key pump.example.com (ID {kept.id}) was kept." in error.public
    place.store.after = False
    ordered = result_of(place.issue(CertificateOrder(NAMES, ED25519), "once"))
    assert ordered.key is not None
    assert ordered.key.key_id == issued(ordered).record.key_id
    assert (ordered.key == kept) is after


def test_repetitions(place: Place) -> None:
    """A copy with the same idempotency key gets the same certificate, and no other key; other names don't."""
    order = CertificateOrder(NAMES, ED25519)
    first, again = (result_of(place.issue(order, "once")) for _ in range(2))
    assert first == again
    assert len(place.stored_keys()) == 1
    other = CertificateOrder(CertificateNames.of("CN=other.example.com"), ED25519)
    assert result_of(place.issue(other, "once")) != first
    assert result_of(place.issue(order)) != first


def test_preview(place: Place) -> None:
    """It shows the certificate without generating or storing anything, nor the identifier of a placeholder."""
    preview = result_of(place.certificates.preview(place.alice, CertificateOrder(NAMES, ED25519), Method.UI))
    assert preview.given is not None
    assert (preview.given.subject, preview.given.key) == ("CN=pump.example.com,O=Example", "Ed25519")
    texts = {extension.oid: extension.text for extension in preview.given.extensions}
    assert texts["2.5.29.14"] == ("of the new key",)
    assert place.stored_keys() == []
    key = result_of(place.stack.app.keys.generate(place.alice, "mine", "ed25519"))
    preview = result_of(place.certificates.preview(place.alice, CertificateOrder(NAMES, key.id), Method.UI))
    assert preview.given is not None
    assert {extension.oid: extension.text for extension in preview.given.extensions}["2.5.29.14"] != texts["2.5.29.14"]


@pytest.mark.parametrize("kind", KEY_NAMES)
def test_placeholders(kind: str) -> None:
    """A placeholder passes the checks of its kind of key."""
    text = describe_spki(placeholder_public_key(kind)).text
    assert text.lower().replace("/", "").endswith(kind)
