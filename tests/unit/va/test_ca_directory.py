"""The CAs and their CRLs, as people see them (UI-6, VA-1, VA-2)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pikachu.auth.authenticator import account_principal
from pikachu.core.errors import AuthenticationFailed, Conflict, MalformedRequest, NotAuthorized, NotFound
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import ANONYMOUS, SYSTEM, AccountState, Principal, Role
from pikachu.va.ca_directory import Generation
from pikachu.x509.crl import crl_pem
from tests.support.deferreds import failure_of, result_of
from tests.support.pki import brought, digest_for
from tests.support.stack import Stack, build_core, open_stack


def principal(stack: Stack, name: str, role: Role) -> Principal:
    """Somebody with an account."""
    adding = stack.app.accounts.add_user(SYSTEM, name, f"{name}@example.com", role, AccountState.ACTIVE, "long enough")
    return account_principal(result_of(adding), "192.0.2.1")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = build_core(tmp_path, key_types=("p256", "rsa2048"))
    yield made
    made.close()


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[Stack]:
    """The root's key is elsewhere."""
    made = build_core(tmp_path, root_key=False)
    yield made
    made.close()


def test_all(stack: Stack) -> None:
    """UI-6: the issuing CAs and the root, with what each does; the default one first."""
    found = stack.app.ca_directory.all()
    assert [(ca.name, ca.address, ca.generation) for ca in found] == [
        ("ec", "ec", Generation.CURRENT),
        ("rsa", "rsa", Generation.CURRENT),
        ("root", "root", Generation.ROOT),
    ]
    assert [ca.default for ca in found] == [True, False, False]
    assert [len(ca.chain) for ca in found] == [2, 2, 1]
    assert all(ca.makes_crls for ca in found)
    assert "SCEP" in " ".join(found[1].work)
    assert "SCEP" not in " ".join(found[0].work)
    assert stack.app.ca_directory.one(found[0].key_identifier) == found[0]
    for address in ("", "ecc", "ROOT", "00"):
        with pytest.raises(NotFound):
            stack.app.ca_directory.one(address)


def test_offline_root(offline: Stack) -> None:
    """An offline root's CRL is uploaded by an admin."""
    rooms = offline.app.ca_directory
    admin, user = principal(offline, "root1", Role.ADMIN), principal(offline, "alice", Role.USER)
    root = rooms.one("root")
    assert (root.generation, root.makes_crls) == (Generation.ROOT, False)
    assert result_of(rooms.crl("root")).crl is None
    failure_of(rooms.crl_text("root"), NotFound)
    crl = brought(offline.files.root, 7)
    failure_of(rooms.upload_crl(user, crl), NotAuthorized)
    failure_of(rooms.upload_crl(ANONYMOUS, crl), AuthenticationFailed)
    failure_of(rooms.upload_crl(admin, crl, "ec"), Conflict)
    failure_of(rooms.upload_crl(admin, b"nonsense"), MalformedRequest)
    failure_of(rooms.make_crl(admin, "root"), Conflict)
    state = result_of(rooms.upload_crl(admin, crl_pem(crl), "root"))
    assert (state.ca.name, state.crl and state.crl.number) == ("root", 7)
    assert result_of(rooms.crl("root")).crl == state.crl
    assert "X509v3 CRL Number" in result_of(rooms.crl_text("root"))
    older = brought(offline.files.root, 6)
    failure_of(rooms.upload_crl(admin, older, "root"), Conflict)


def test_a_critical_entry_extension_that_is_not_known(offline: Stack) -> None:
    """A CRL entry with an unknown critical extension is listed as revoked; the extension concerns relying parties."""
    root = offline.files.root
    now = root.certificate.not_valid_before_utc + timedelta(days=1)
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    entry = x509.RevokedCertificateBuilder().serial_number(0x5EED).revocation_date(now).add_extension(unknown, True)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(root.certificate.subject)
        .last_update(now)
        .next_update(now + timedelta(days=30))
        .add_extension(x509.CRLNumber(8), critical=False)
        .add_revoked_certificate(entry.build())
    )
    crl = builder.sign(root.key, digest_for(root.key)).public_bytes(Encoding.DER)
    state = result_of(offline.app.ca_directory.upload_crl(SYSTEM, crl))
    assert state.crl is not None
    assert state.crl.entries == 1
    text = result_of(offline.app.ca_directory.crl_text("root"))
    assert "5EED" in text.upper()
    assert "1.2.3.4: critical" in text


def test_crls(stack: Stack) -> None:
    """VA-1: number, dates, entries and text of the newest CRL, also of one that another process has made."""
    rooms = stack.app.ca_directory
    assert [state.crl for state in result_of(rooms.crls())] == [None, None, None]
    leaf = stack.issue()
    stack.revoke(leaf, RevocationReason.KEY_COMPROMISE)
    stack.clock.advance(1)
    state = result_of(rooms.crl("ec"))
    assert state.crl is not None
    assert state.crl.entries == 1
    assert f"{leaf.serial:X}" in result_of(rooms.crl_text("ec")).replace(":", "").upper()
    assert "Key Compromise" in result_of(rooms.crl_text("ec"))
    pem = result_of(rooms.crl_pem(state, 1 << 20))
    assert pem is not None
    assert pem.startswith("-----BEGIN X509 CRL-----\n")
    assert result_of(rooms.crl_pem(state, 10)) is None
    other = open_stack(stack.files, stack.clock, process="command")
    made = result_of(other.app.publisher.make(other.issuer("ec")))
    other.close()
    again = result_of(rooms.crl("ec"))
    assert again.crl is not None
    assert (made.number > state.crl.number, again.crl.number) == (True, made.number)


def test_make(stack: Stack) -> None:
    """An admin has a CRL made at once, and the audit log records it."""
    rooms = stack.app.ca_directory
    admin, user = principal(stack, "root1", Role.ADMIN), principal(stack, "alice", Role.USER)
    failure_of(rooms.make_crl(user, "ec"), NotAuthorized)
    failure_of(rooms.make_crl(admin, "none"), NotFound)
    first, second = (result_of(rooms.make_crl(admin, "rsa")).crl for _ in range(2))
    assert first is not None
    assert second is not None
    assert second.number > first.number
    event = result_of(stack.app.inventory.events(admin, ListQuery(filters={"resource_type": "CRL"}))).items[0].event
    assert (event.type, event.actor, event.details["number"]) == ("create", "root1", second.number)
