"""CAR-1: the CA's own certificates are in the inventory, from their files and from their issuance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pikachu.ca.service_certificates import OCSP, SCEP_RA, Purpose
from pikachu.cli.session import operator
from pikachu.core.errors import Conflict, NotAuthorized
from pikachu.core.model.certificates import CertificateRecord, Infrastructure, Method, RevocationReason
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, Principal, PrincipalKind, Role, Scope
from pikachu.x509.certificate import parse_certificate
from tests.support.databases import AS_0006, execute
from tests.support.deferreds import result_of
from tests.support.pki import make_ca, make_leaf
from tests.support.stack import Files, Stack, build_core, make_files, open_stack

KEY_TYPES = ("p256", "rsa2048")
ONLY = ListQuery(limit=100, filters={"infrastructure": "only"}, count=True)


def own(stack: Stack) -> list[CertificateRecord]:
    """The CA's own certificates in the inventory, oldest first."""
    return list(reversed(result_of(stack.app.inventory.certificates(operator(), ONLY)).items))


def roles(stack: Stack) -> list[tuple[str, str]]:
    """Role and common name of each, in order."""
    return sorted((one.infrastructure.value, one.common_name) for one in own(stack) if one.infrastructure)


EXPECTED = [
    ("https", "localhost"),
    ("issuing_ca", "Test ec CA"),
    ("issuing_ca", "Test rsa CA"),
    ("root", "Test root"),
]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A CA with two issuing CAs."""
    return make_files(tmp_path / "ca", KEY_TYPES)


@pytest.fixture
def stack(files: Files) -> Iterator[Stack]:
    """The same, in service."""
    stack = open_stack(files)
    yield stack
    stack.close()


@pytest.mark.parametrize("root_key", [True, False], ids=["root here", "root offline"])
def test_files_are_registered_once(tmp_path: Path, root_key: bool) -> None:
    """Root, issuing CAs and HTTPS certificate have one row each, however often the CA starts."""
    stack = build_core(tmp_path / "ca", key_types=KEY_TYPES, root_key=root_key)
    before = own(stack)
    assert roles(stack) == EXPECTED
    assert {one.method for one in before} == {Method.CA}
    assert {one.owner_id for one in before} == {None}
    stack = stack.restart()
    assert own(stack) == before
    assert {one.der for one in before} >= {identity.der for identity in stack.files.issuers.values()}
    stack.close()


def test_an_upgraded_database_is_filled_in(files: Files) -> None:
    """An earlier version's own certificates get a role; certificates known only from files get rows."""
    stack = open_stack(files)
    leaf = stack.issue()
    issuer = stack.issuer("rsa")
    for purpose in (OCSP, SCEP_RA):
        result_of(stack.app.credentials.get(issuer, purpose))
    before = roles(stack)
    stack.close()
    execute(f"sqlite:///{files.folder}/pikachu.sqlite", *AS_0006)
    stack = open_stack(files)
    assert roles(stack) == before
    assert len(before) == len(EXPECTED) + 2
    assert result_of(stack.app.store.certificate_by_serial(leaf.serial)).infrastructure is None
    stack.close()


def test_services_and_generations_are_marked(stack: Stack) -> None:
    """Responders, RAs and roll-over certificates are marked as they are issued."""
    issuer = stack.issuer("rsa")
    for purpose in (OCSP, SCEP_RA):
        result_of(stack.app.credentials.get(issuer, purpose))
    found = {one.infrastructure for one in own(stack)}
    assert {Infrastructure.OCSP_RESPONDER, Infrastructure.SCEP_RA} <= found


def test_the_search_finds_them(stack: Stack) -> None:
    """Free text, sorts, status and method apply to the CA's own certificates as to others."""
    stack.issue("Test ec CA device")
    for q, filters, names in (
        ("Test ec CA", {"infrastructure": "only"}, ["Test ec CA", "Test root"]),
        ("Test ec CA", {"infrastructure": "include"}, ["Test ec CA device", "Test ec CA", "Test root"]),
        ("Test ec", {}, ["Test ec CA device"]),
        (None, {"infrastructure": "only", "status": "revoked"}, []),
        (
            None,
            {"infrastructure": "only", "status": "valid", "issuer": "root"},
            ["Test rsa CA", "Test root", "Test ec CA"],
        ),
        (None, {"status": "valid"}, ["Test ec CA device"]),
        (None, {"method": "CA"}, []),
    ):
        page = result_of(stack.app.inventory.certificates(operator(), ListQuery(q=q, filters=filters, count=True)))
        assert sorted(one.common_name for one in page.items) == sorted(names), (q, filters)
        assert page.total == len(names)


def test_lists_and_counts_leave_them_out(stack: Stack) -> None:
    """No list, count or expiry of certificates includes the CA's own; users can't ask for them."""
    leaf = stack.issue(days=5)
    result_of(stack.app.credentials.get(stack.issuer(), OCSP))
    assert [one.serial for one in result_of(stack.app.inventory.certificates(operator(), ListQuery())).items] == [
        leaf.serial
    ]
    overview = result_of(stack.app.statistics.overview(operator()))
    assert overview.counts is not None
    assert (overview.counts.valid, overview.within(30), sum(overview.keys.values())) == (1, 1, 1)
    user = Principal(PrincipalKind.ACCOUNT, "alice", owner_id=7, role=Role.USER, scopes=frozenset({Scope.READ}))
    for choice in ("include", "only"):
        with pytest.raises(NotAuthorized):
            result_of(stack.app.inventory.certificates(user, ListQuery(filters={"infrastructure": choice})))
    stack.clock.advance(40 * 86400)
    assert result_of(stack.app.statuses.expired_ids(0, 100)) == [leaf.record.id]


def test_a_shared_serial_number_is_reported(tmp_path: Path) -> None:
    """A CA certificate from elsewhere may have the serial number of another one: it gets no row, and a start works."""
    files = make_files(tmp_path / "ca")
    stack = open_stack(files)
    taken = stack.issue().serial
    stack.close()
    https = make_leaf(files.issuers["ec"], "localhost", sans=["DNS:localhost"], serial=taken)
    https.write(files.folder, "https")
    warnings: list[str] = []
    stack = open_stack(files, warn=warnings.append)
    (warning,) = warnings
    assert "another certificate has its serial number" in warning
    assert result_of(stack.app.store.certificate_by_serial(taken)).infrastructure is None
    stack.close()


def test_certificates_of_other_issuers_stay_out(tmp_path: Path) -> None:
    """An HTTPS certificate of another authority is not this CA's to list."""
    files = make_files(tmp_path / "ca")
    make_leaf(make_ca(name="Other CA"), "localhost").write(files.folder, "https")
    stack = open_stack(files)
    assert Infrastructure.HTTPS not in {one.infrastructure for one in own(stack)}
    stack.close()


@pytest.mark.parametrize("role", [Infrastructure.ROOT, Infrastructure.ISSUING_CA, Infrastructure.HTTPS])
def test_none_is_deleted(stack: Stack, role: Infrastructure) -> None:
    """Clients ask for their status as long as they are valid."""
    record = next(one for one in own(stack) if one.infrastructure is role)
    with pytest.raises(Conflict, match="expired"):
        result_of(stack.app.inventory.delete(operator(), record.id))


@pytest.mark.parametrize("reason", [RevocationReason.KEY_COMPROMISE, RevocationReason.CERTIFICATE_HOLD])
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("purpose", [OCSP, SCEP_RA], ids=["responder", "RA"])
def test_a_revoked_service_certificate_is_replaced(
    stack: Stack, purpose: Purpose, restart: bool, reason: RevocationReason
) -> None:
    """Nothing is signed or decrypted with its key any more; another CA's certificate stays in service."""
    first, other = (result_of(stack.app.credentials.get(stack.issuer(name), purpose)) for name in ("ec", "rsa"))
    serial = parse_certificate(first.signer.certificate).serial
    result_of(stack.app.authority.revoke(serial, reason, SYSTEM))
    if restart:
        stack = stack.restart()
    credentials = stack.app.credentials
    second = result_of(credentials.get(stack.issuer("ec"), purpose))
    assert second.signer.certificate != first.signer.certificate
    assert credentials.try_get(stack.issuer("ec"), purpose) is second
    kept = result_of(credentials.get(stack.issuer("rsa"), purpose))
    assert kept.signer.certificate == other.signer.certificate
    former = result_of(credentials.former(stack.issuer("ec"), purpose))
    assert [one.signer.certificate for one in former] == [second.signer.certificate]
    if restart:
        stack.close()


def test_the_root_is_not_revoked(stack: Stack) -> None:
    """RFC 5280 section 6.1.1: a trust anchor is trusted by configuration."""
    record = next(one for one in own(stack) if one.infrastructure is Infrastructure.ROOT)
    with pytest.raises(Conflict, match="trust store"):
        result_of(stack.app.authority.revoke(record.serial, RevocationReason.KEY_COMPROMISE, SYSTEM))


def test_status_knows_them(stack: Stack) -> None:
    """CRT-8 for every certificate of the CA itself."""
    for record in own(stack):
        answer = result_of(stack.app.statuses.status(record.serial))
        assert answer.status is not None
        assert answer.status.value == "valid"
