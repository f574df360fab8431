"""EST-2: authentication by client certificate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from pikachu.ca.infrastructure import describe_own
from pikachu.core.errors import NotAuthorized
from pikachu.core.model.certificates import Infrastructure, RevocationReason
from pikachu.core.model.events import Event
from pikachu.x509 import der
from pikachu.x509.certificate import parse_certificate
from tests.support import odd_certificates
from tests.support.deferreds import failure_of, result_of
from tests.support.odd_certificates import Form
from tests.support.people import World, certificate_of, make_world
from tests.support.pki import DAY, Identity, digest_for, make_ca, make_key, make_leaf, make_name

OTHER: Final = odd_certificates.NAMES["no common name"]
PLAIN: Final = odd_certificates.NAMES["IA5String"]
EVENT = Event("revoke", "certificate", "x", "test")


def reason_of(world: World, der: bytes, *intermediates: bytes) -> str:
    return failure_of(world.certificates.authenticate(der, intermediates), NotAuthorized).public


def foreign_ca(
    world: World, name: str = "Foreign CA", *, issuer: Identity | None = None, pathlen: int | None = None
) -> Identity:
    return make_ca(name=name, issuer=issuer, path_length=pathlen, not_before=world.now - DAY)


def foreign_leaf(world: World, ca: Identity) -> Identity:
    return make_leaf(ca, not_before=world.now - DAY, not_after=world.now + DAY)


@pytest.mark.parametrize("title", odd_certificates.EQUAL_NAMES)
def test_names_that_match(world: World, title: str) -> None:
    """RFC 5280 section 7.1: the issuer's name may have other string types, case and spaces than the CA's."""
    name, issuer = odd_certificates.EQUAL_NAMES[title]
    key, leaf_key = make_key("p256"), make_key("p256")
    form = Form(not_before=der.time(world.now - DAY), not_after=der.time(world.now + DAY))
    world.anchors.append(parse_certificate(odd_certificates.certificate(key, name, form)))
    leaf = odd_certificates.certificate(leaf_key, OTHER, form, issuer_key=key, issuer=issuer)
    assert not result_of(world.certificates.authenticate(leaf)).own
    stranger = odd_certificates.certificate(leaf_key, OTHER, form, issuer_key=key, issuer=OTHER)
    assert "was not issued by this authority" in reason_of(world, stranger)


@pytest.mark.parametrize("title", odd_certificates.ROOT_FORMS)
def test_a_trust_anchor_of_version_1(world: World, title: str) -> None:
    """A root without extensions is a CA where client_ca names it, and nowhere else."""
    form = replace(
        odd_certificates.ROOT_FORMS[title],
        not_before=der.time(world.now - DAY),
        not_after=der.time(world.now + DAY),
    )
    key, leaf_key = make_key("p256"), make_key("p256")
    anchor = odd_certificates.certificate(key, OTHER, form)
    ordinary = replace(form, version=Form().version, without_extensions=False)
    leaf = odd_certificates.certificate(leaf_key, PLAIN, ordinary, issuer_key=key, issuer=OTHER)
    assert "was not issued by this authority" in reason_of(world, leaf, anchor)
    world.anchors.append(parse_certificate(anchor))
    assert not result_of(world.certificates.authenticate(leaf)).own


def test_own_certificate_is_accepted_with_its_owner(world: World) -> None:
    """A certificate's owner owns the certificates enrolled with it."""
    alice = world.add("alice")
    leaf = world.issue(owner_id=alice.id)
    presented = result_of(world.certificates.authenticate(leaf.der))
    assert presented.own
    assert presented.owner_id == alice.id
    assert presented.der == leaf.der
    assert presented.serial == leaf.certificate.serial_number
    assert presented.subject_der == leaf.subject_der


def test_revoked_is_refused_and_a_hold_too(world: World) -> None:
    """By our own database, at once, though the signature was verified before."""
    leaf = world.issue()
    serial = leaf.certificate.serial_number
    result_of(world.certificates.authenticate(leaf.der))
    result_of(world.store.revoke(serial, world.now, RevocationReason.CERTIFICATE_HOLD, EVENT))
    assert reason_of(world, leaf.der) == "the client certificate is revoked"
    result_of(world.store.release(serial, EVENT, world.now))
    result_of(world.certificates.authenticate(leaf.der))


def test_expired_is_refused_from_the_second_after_its_end(world: World) -> None:
    leaf = world.issue(days=1)
    world.clock.advance(86400)
    result_of(world.certificates.authenticate(leaf.der))
    world.clock.advance(1)
    assert reason_of(world, leaf.der) == "the client certificate has expired"


def test_not_yet_valid_is_refused(world: World) -> None:
    leaf = make_leaf(world.ca, not_before=world.now + DAY, not_after=world.now + 2 * DAY)
    world.record(leaf)
    assert reason_of(world, leaf.der) == "the client certificate is not yet valid"


def test_own_signature_but_not_in_the_database_is_refused(world: World) -> None:
    leaf = make_leaf(world.ca)
    assert reason_of(world, leaf.der) == "the client certificate is not known here any more"


def test_deleted_is_refused(world: World) -> None:
    leaf = make_leaf(world.ca)
    result_of(world.store.delete_certificate(world.record(leaf), EVENT, world.now))
    assert reason_of(world, leaf.der) == "the client certificate is not known here any more"


def test_another_certificate_of_the_same_serial_is_refused(world: World) -> None:
    """The stored bytes count, not the serial."""
    leaf = world.issue()
    twin = make_leaf(
        world.ca,
        "other.example.com",
        serial=leaf.certificate.serial_number,
        not_before=world.now,
        not_after=world.now + DAY,
    )
    assert reason_of(world, twin.der) == "the client certificate is not the one that was issued"


def test_the_same_name_and_key_identifier_with_a_foreign_signature_is_refused(world: World) -> None:
    forger = make_ca(name="Test issuing CA")
    forged = make_leaf(forger, serial=world.issue().certificate.serial_number)
    assert "not issued by this authority" in reason_of(world, forged.der)


def test_a_changed_certificate_is_refused(world: World) -> None:
    leaf = world.issue()
    changed = leaf.der.replace(b"device.example.com", b"Device.example.com")
    assert changed != leaf.der
    assert "not issued by this authority" in reason_of(world, changed)


def test_own_root_among_the_anchors_lets_no_revoked_certificate_in(world: World) -> None:
    leaf = world.issue()
    world.anchors.append(certificate_of(world.ca))
    result_of(world.store.revoke(leaf.certificate.serial_number, world.now, RevocationReason.UNSPECIFIED, EVENT))
    assert reason_of(world, leaf.der) == "the client certificate is revoked"
    assert reason_of(world, make_leaf(world.ca).der) == "the client certificate is not known here any more"


def test_a_renamed_ca_knows_what_its_key_has_signed(world: World) -> None:
    """The key identifies our certificates: an unrecorded one is refused, even with a path by the former name."""
    renamed = make_ca(name="Former name", key=world.ca.key, not_before=world.now - DAY)
    world.anchors.append(certificate_of(renamed))
    assert reason_of(world, make_leaf(renamed).der) == "the client certificate is not known here any more"


@pytest.mark.parametrize(
    "purposes",
    [
        [],
        [ExtendedKeyUsageOID.CLIENT_AUTH],
        [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
        [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE],
    ],
)
def test_purposes_that_serve_a_client(world: World, purposes: list[x509.ObjectIdentifier]) -> None:
    """RFC 5280 section 4.2.1.12: an absent extendedKeyUsage restricts nothing."""
    assert result_of(world.certificates.authenticate(world.issue(purposes=purposes).der)).own


def test_without_client_auth_it_may_not_enroll(world: World) -> None:
    """It must have clientAuth; the signer of a SCEP message need not have it."""
    leaf = world.issue(purposes=[ExtendedKeyUsageOID.SERVER_AUTH])
    assert "lacks clientAuth" in reason_of(world, leaf.der)
    assert result_of(world.certificates.authenticate(leaf.der, client_auth=False)).own


def test_client_ca_is_trusted_for_what_it_issued_itself(world: World) -> None:
    ca = foreign_ca(world)
    leaf = foreign_leaf(world, ca)
    assert "not issued by this authority" in reason_of(world, leaf.der)
    world.anchors.append(certificate_of(ca))
    presented = result_of(world.certificates.authenticate(leaf.der))
    assert not presented.own
    assert presented.owner_id is None


@pytest.mark.parametrize("key_type", ["rsa2048", "p384", "ed25519", "mldsa44"])
def test_every_kind_of_key_can_be_an_anchor(world: World, key_type: str) -> None:
    """PQC-1: ML-DSA on every path."""
    ca = make_ca(key_type, "Foreign CA", not_before=world.now - DAY)
    world.anchors.append(certificate_of(ca))
    assert not result_of(world.certificates.authenticate(foreign_leaf(world, ca).der)).own


def test_intermediates_lead_to_an_anchor_in_any_order(world: World) -> None:
    root = foreign_ca(world, "Root")
    upper = foreign_ca(world, "Upper", issuer=root)
    lower = foreign_ca(world, "Lower", issuer=upper)
    leaf = foreign_leaf(world, lower)
    world.anchors.append(certificate_of(root))
    assert "not issued by" in reason_of(world, leaf.der)
    assert "not issued by" in reason_of(world, leaf.der, lower.der)
    for order in ([upper.der, lower.der], [leaf.der, b"noise", lower.der, root.der, upper.der]):
        assert not result_of(world.certificates.authenticate(leaf.der, order)).own


def test_an_intermediate_among_the_anchors_is_one(world: World) -> None:
    root = foreign_ca(world, "Root")
    lower = foreign_ca(world, "Lower", issuer=root)
    world.anchors.append(certificate_of(lower))
    assert not result_of(world.certificates.authenticate(foreign_leaf(world, lower).der)).own


def test_path_length_is_kept(world: World) -> None:
    """RFC 5280 section 6.1.4 (m)."""
    root = foreign_ca(world, "Root", pathlen=0)
    lower = foreign_ca(world, "Lower", issuer=root)
    world.anchors.append(certificate_of(root))
    assert "not issued by" in reason_of(world, foreign_leaf(world, lower).der, lower.der)
    assert not result_of(world.certificates.authenticate(foreign_leaf(world, root).der)).own


def test_what_is_no_ca_issues_nothing(world: World) -> None:
    """RFC 5280 section 6.1.4 (k): a leaf's key signs no certificate, as anchor or on the way to one."""
    root = foreign_ca(world, "Root")
    middle = make_leaf(root, "middle", not_before=world.now - DAY)
    leaf = foreign_leaf(world, middle)
    world.anchors.append(certificate_of(root))
    assert "not issued by" in reason_of(world, leaf.der, middle.der)
    world.anchors.append(certificate_of(middle))
    assert "not issued by" in reason_of(world, leaf.der)


def test_an_expired_anchor_or_intermediate_is_refused(world: World) -> None:
    ca = make_ca(name="Old", not_before=world.now - 2 * DAY, not_after=world.now + DAY)
    leaf = make_leaf(ca, not_before=world.now - DAY, not_after=world.now + 9 * DAY)
    world.anchors.append(certificate_of(ca))
    result_of(world.certificates.authenticate(leaf.der))
    world.clock.advance(86401)
    assert "not issued by" in reason_of(world, leaf.der)


def test_foreign_ones_expire_too_and_must_serve_clients(world: World) -> None:
    ca = foreign_ca(world)
    world.anchors.append(certificate_of(ca))
    leaf = foreign_leaf(world, ca)
    server = make_leaf(ca, not_before=world.now - DAY, purposes=[ExtendedKeyUsageOID.SERVER_AUTH])
    assert "lacks clientAuth" in reason_of(world, server.der)
    world.clock.advance(86401)
    assert reason_of(world, leaf.der) == "the client certificate has expired"


def test_critical_extensions_that_are_not_understood_are_refused(world: World) -> None:
    """RFC 5280 sections 6.1.4 (o) and 6.1.5 (f), such as name constraints."""
    constraints = x509.NameConstraints([x509.DNSName("example.org")], None)
    key, root = make_key("p256"), foreign_ca(world, "Root")
    builder = (
        x509.CertificateBuilder()
        .subject_name(make_name("Constrained"))
        .issuer_name(root.certificate.subject)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(world.now - DAY)
        .not_valid_after(world.now + DAY)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .add_extension(constraints, critical=True)
    )
    constrained = Identity(key, builder.sign(root.key, digest_for(root.key)), root)
    leaf = make_leaf(constrained, not_before=world.now - DAY)
    world.anchors.append(certificate_of(root))
    assert "not issued by" in reason_of(world, leaf.der, constrained.der)
    assert "critical extension" in reason_of(world, constrained.der)


def test_loops_of_intermediates_end(world: World) -> None:
    """Two that issued each other lead nowhere, in bounded time."""
    world.anchors.append(certificate_of(foreign_ca(world, "Elsewhere")))
    first = foreign_ca(world, "First")
    second = foreign_ca(world, "Second", issuer=first)
    back = make_ca(name="First", issuer=second, key=first.key, not_before=world.now - DAY)
    leaf = foreign_leaf(world, second)
    assert "not issued by" in reason_of(world, leaf.der, *[back.der, second.der] * 50)


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[World, bytes]]:
    """One world and one good certificate in it, for many examples."""
    made = make_world()
    made.anchors.append(certificate_of(made.ca))
    yield made, made.issue().der
    result_of(made.store.close())


@given(der=st.binary(max_size=300), intermediates=st.lists(st.binary(max_size=100), max_size=3))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_refused(shared: tuple[World, bytes], der: bytes, intermediates: list[bytes]) -> None:
    reason_of(shared[0], der, *intermediates)


@given(position=st.integers(min_value=0), value=st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_a_certificate_with_any_byte_changed_is_refused(shared: tuple[World, bytes], position: int, value: int) -> None:
    world, good = shared
    changed = bytearray(good)
    changed[position % len(changed)] = value
    if bytes(changed) != good:
        reason_of(world, bytes(changed), bytes(changed))


@pytest.mark.parametrize("ended", ["revoked", "deleted"])
def test_what_a_former_generation_issued_is_not_let_in_by_the_root_above_it(world: World, ended: str) -> None:
    """Its CA is out of service, ``client_ca`` holds the root, and the database remembers the revocation."""
    root = foreign_ca(world, "Root")
    former = foreign_ca(world, "Former generation", issuer=root)
    leaf = foreign_leaf(world, former)
    world.anchors.append(certificate_of(root))
    assert not result_of(world.certificates.authenticate(leaf.der, [former.der])).own
    identity = world.record(leaf)
    assert not result_of(world.certificates.authenticate(leaf.der, [former.der])).own
    if ended == "revoked":
        serial = leaf.certificate.serial_number
        result_of(world.store.revoke(serial, world.now, RevocationReason.KEY_COMPROMISE, EVENT))
    else:
        result_of(world.store.delete_certificate(identity, EVENT, world.now))
    assert reason_of(world, leaf.der, former.der) == "the client certificate is revoked"


def register(world: World, role: Infrastructure, identity: Identity, issuer: Identity) -> None:
    """Put one of the authority's own certificates into the inventory, as a start does."""
    own = describe_own(role, certificate_of(identity), certificate_of(issuer))
    assert result_of(world.store.add_own([own], world.now)) == []


@pytest.mark.parametrize("client_auth", [True, False], ids=["TLS", "SCEP"])
@pytest.mark.parametrize("role", Infrastructure)
def test_the_authoritys_own_certificates_enroll_nothing(world: World, role: Infrastructure, client_auth: bool) -> None:
    """Every one has a row in the inventory (CAR-1), but nobody has enrolled it: a key for TLS is no credential."""
    leaf = make_leaf(world.ca, not_before=world.now - DAY, not_after=world.now + DAY)
    register(world, role, leaf, world.ca)
    answer = world.certificates.authenticate(leaf.der, client_auth=client_auth)
    assert "one of the authority's own" in failure_of(answer, NotAuthorized).public


@pytest.mark.parametrize(
    ("reason", "reissued"),
    [
        (RevocationReason.UNSPECIFIED, False),
        (RevocationReason.CERTIFICATE_HOLD, False),
        (RevocationReason.KEY_COMPROMISE, False),
        (RevocationReason.KEY_COMPROMISE, True),
        (RevocationReason.CA_COMPROMISE, True),
    ],
)
@pytest.mark.parametrize("depth", [1, 2])
def test_a_revoked_ca_out_of_service_lets_nobody_in(
    world: World, reason: RevocationReason, reissued: bool, depth: int
) -> None:
    """``client_ca`` holds its root, and whoever has its key makes certificates that no database knows."""
    root = foreign_ca(world, "Root")
    former = foreign_ca(world, "Former CA", issuer=root)
    other = make_ca(name="Former CA", issuer=root, key=former.key, not_before=world.now - DAY) if reissued else former
    register(world, Infrastructure.ISSUING_CA, other, root)
    world.anchors.append(certificate_of(root))
    ca = former if depth == 1 else foreign_ca(world, "Below", issuer=former)
    leaf, sent = foreign_leaf(world, ca), [ca.der, former.der]
    assert not result_of(world.certificates.authenticate(leaf.der, sent)).own
    serial = other.certificate.serial_number
    result_of(world.store.revoke(serial, world.now, reason, EVENT))
    assert "revoked" in reason_of(world, leaf.der, *sent)
    # The intermediates of the first connection are remembered.
    assert "revoked" in reason_of(world, leaf.der)
    assert "revoked" in reason_of(world, foreign_leaf(world, ca).der, *sent)
