"""CRL files: brokers, generations, readers, and CRLs that are uploaded."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pikachu.core.errors import Conflict, MalformedRequest, NotAuthorized, StoreUnavailable
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, Principal, PrincipalKind, Role, Scope
from pikachu.core.model.times import utc
from pikachu.va.crl_files import CRLFolder, CRLSettings
from pikachu.va.crl_publisher import CRLPublisher
from pikachu.x509.crl import crl_entry
from pikachu.x509.crl_verification import decode_crl
from tests.support.deferreds import failure_of, result_of
from tests.support.pki import brought, make_ca
from tests.support.stack import Stack, build_core, open_stack
from tests.unit.va.publishing import DAY, crl_of, make, number_of, rotate, serials, settle, slow_publisher


def test_where_brokers_look(tmp_path: Path) -> None:
    """The default CA's PEM at crl_path, the others beside it; readable by all, nothing else there."""
    stack = build_core(tmp_path / "ca", key_types=("p256", "rsa2048"), changes={("PATHS", "crl_dir"): "lists"})
    result_of(stack.app.publisher.begin())
    folder = stack.files.folder / "crl"
    names = {"ec": "ca.crl", "rsa": "ca-rsa.crl", "root": "ca-root.crl"}
    assert {path.name for path in folder.iterdir()} == set(names.values())
    for issuer in stack.app.issuers.all():
        path = folder / names[issuer.name]
        assert path.read_bytes() == stack.app.publisher.paths(issuer)[1].read_bytes()
        assert path.stat().st_mode & 0o777 == 0o644
    stack.close()


def test_another_default_ca_moves_to_crl_path(tmp_path: Path) -> None:
    """At the next start."""
    stack = build_core(tmp_path / "ca", key_types=("p256", "rsa2048"))
    result_of(stack.app.publisher.begin())
    stack.close()
    config = stack.files.config
    config.write_text(config.read_text().replace("mode = EC", "mode = RSA"))
    again = open_stack(stack.files, stack.clock)
    result_of(again.app.publisher.begin())
    crl = x509.load_pem_x509_crl((stack.files.folder / "crl" / "ca.crl").read_bytes())
    assert crl.issuer.public_bytes() == again.issuer("rsa").certificate.subject_der
    again.close()


def crls_at(path: Path) -> list[x509.CertificateRevocationList]:
    """The CRLs of a PEM file."""
    end = b"-----END X509 CRL-----\n"
    return [x509.load_pem_x509_crl(block + end) for block in path.read_bytes().split(end)[:-1]]


@pytest.mark.parametrize(("name", "file"), [("ec", "ca.crl"), ("rsa", "ca-rsa.crl")])
def test_brokers_get_every_generation(tmp_path: Path, name: str, file: str) -> None:
    """After a rotation the file lists the revoked of each generation, whichever publishes."""
    stack = build_core(tmp_path / "ca", key_types=("p256", "rsa2048"))
    result_of(stack.app.publisher.begin())
    path = stack.files.folder / "crl" / file
    old = stack.issue(ca=name)
    stack.revoke(old)
    settle(stack)
    assert [serials(crl) for crl in crls_at(path)] == [[old.serial]]
    rotate(stack, name)
    assert [serials(crl) for crl in crls_at(path)] == [[], [old.serial]]
    rotate(stack, name, "--now")
    new = stack.issue(ca=name)
    stack.revoke(new)
    settle(stack)
    assert [serials(crl) for crl in crls_at(path)] == [[new.serial], [old.serial]]
    assert path.stat().st_mode & 0o777 == 0o644
    # The former generation publishes by itself; a restart changes nothing, and repairs what was changed by others.
    former = stack.app.issuers.generations(name, utc(stack.clock.seconds()))[1]
    result_of(stack.app.publisher.make(former))
    whole = path.read_bytes()
    again = stack.restart()
    result_of(again.app.publisher.begin())
    assert path.read_bytes() == whole
    path.write_bytes(whole[: len(whole) // 2])
    again = again.restart()
    result_of(again.app.publisher.begin())
    assert [serials(crl) for crl in crls_at(path)] == [[new.serial], [old.serial]]
    again.close()


def test_a_publisher_that_waits_for_its_turn_knows_the_newest_generations(stack: Stack) -> None:
    """A CRL that was begun before an announcement does not take the next generation out of the file."""
    slow, pool = slow_publisher(stack)
    slow.make(stack.issuer())
    pool.go()
    pool.go()
    rotate(stack, "ec")
    stack.app.publisher.stop()
    while pool.work:
        pool.go()
    assert len(crls_at(stack.app.config.paths.crl_path)) == 2
    slow.stop()


def test_a_reader_sees_one_list_or_the_other(stack: Stack) -> None:
    """A reader that has opened the file goes on reading the old CRL."""
    der_path, _ = stack.app.publisher.paths(stack.issuer())
    before = der_path.read_bytes()
    with der_path.open("rb") as reading:
        head = reading.read(20)
        make(stack)
        assert head + reading.read() == before
    assert der_path.read_bytes() != before


@pytest.mark.slow
def test_twenty_thousand_entries(stack: Stack) -> None:
    """VA-3: one more costs no re-reading of the others."""
    leaf = stack.issue()
    stack.revoke(leaf)
    database: Any = stack.app.store.database

    def fill(tx: Any) -> None:
        connection = tx.connection
        for number in range(20_000):
            connection.exec_driver_sql(
                "INSERT INTO crl_entries (serial, issuer_id, change_id, not_after, entry) VALUES (?, ?, 1, ?, ?)",
                (f"{number + 10:x}", stack.issuer().id, 9_999_999_999, crl_entry(number + 10, utc(0), None)),
            )

    database.write(fill)
    assert make(stack).entries == 20_001
    stack.revoke(stack.issue())
    settle(stack)
    assert len(crl_of(stack)) == 20_002


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[Stack]:
    """A CA whose root is kept elsewhere."""
    made = build_core(tmp_path / "offline", root_key=False)
    result_of(made.app.publisher.begin())
    yield made
    made.close()


def test_a_roots_crl_is_brought(offline: Stack) -> None:
    """In DER or PEM; it lies where CDPs and brokers look."""
    root = offline.files.root
    publisher = offline.app.publisher
    crl = brought(root, revoked=77)
    published = result_of(publisher.uploads.accept(crl))
    assert (published.number, published.entries) == (5, 1)
    assert published.der_path.name == f"{root.key_identifier.hex()}.crl"
    assert published.der_path.read_bytes() == crl
    pem = x509.load_der_x509_crl(brought(root, 6)).public_bytes(Encoding.PEM)
    assert result_of(publisher.uploads.accept(pem)).number == 6
    assert published.pem_path.read_bytes() == pem
    assert (offline.files.folder / "crl" / "ca-root.crl").read_bytes() == pem
    # The same once more is no step back.
    assert result_of(publisher.uploads.accept(pem)).number == 6


def test_what_is_refused(offline: Stack) -> None:
    """A CRL that is another CA's, older, expired or damaged is refused; the published one stays."""
    root = offline.files.root
    publisher = offline.app.publisher
    good = brought(root, 9)
    path = result_of(publisher.uploads.accept(good)).der_path
    stranger = make_ca("p256", "Stranger")
    impostor = make_ca("p256", "Test root")
    refused: dict[str, tuple[bytes, type[Exception]]] = {
        "a lower number": (brought(root, 8), Conflict),
        "an earlier one": (brought(root, 9, begins=timedelta(hours=-9)), Conflict),
        "no number": (brought(root, None), MalformedRequest),
        "another CA": (brought(stranger, 10), MalformedRequest),
        "another key": (brought(root, 10, signer=impostor), MalformedRequest),
        "an impostor": (brought(impostor, 10), MalformedRequest),
        "a delta": (brought(root, 10, delta=True), MalformedRequest),
        "expired": (brought(root, 10, begins=timedelta(days=-1), ends=timedelta(minutes=-5)), MalformedRequest),
        "not begun": (brought(root, 10, begins=timedelta(days=1)), MalformedRequest),
        "our own": (publisher.paths(offline.issuer())[0].read_bytes(), Conflict),
        "garbage": (b"garbage", MalformedRequest),
        "cut short": (good[:-3], MalformedRequest),
        "empty": (b"", MalformedRequest),
    }
    for what, (data, kind) in refused.items():
        try:
            failure_of(publisher.uploads.accept(data), kind)
        except AssertionError as error:
            raise AssertionError(what) from error
    assert path.read_bytes() == good


def test_a_root_that_is_here_makes_its_own(stack: Stack) -> None:
    """An upload would contradict it."""
    failure_of(stack.app.publisher.uploads.accept(brought(stack.files.root)), Conflict)
    assert number_of(crl_of(stack, "root")) == 1


def test_one_crl_only() -> None:
    """PEM with none or two of them."""
    ca = make_ca("p256")
    pem = x509.load_der_x509_crl(brought(ca)).public_bytes(Encoding.PEM)
    assert decode_crl(b"text before\n" + pem) == brought(ca)[:0] + decode_crl(pem)
    for text in (pem + pem, ca.pem):
        with pytest.raises(MalformedRequest):
            decode_crl(text)


def test_a_folder_that_can_not_be_written(offline: Stack, tmp_path: Path) -> None:
    """Neither an uploaded nor a new CRL can be stored, and the error says so."""
    blocked = tmp_path / "blocked"
    blocked.write_text("not a folder")
    settings = CRLSettings(DAY, 0.5, blocked, None)
    app = offline.app
    publisher = CRLPublisher(offline.clock, app.store, app.issuers, app.pools.files, settings, app.recovery)
    failure_of(publisher.uploads.accept(brought(offline.files.root)), StoreUnavailable)
    failure_of(publisher.make(offline.issuer()), StoreUnavailable)
    publisher.stop()
    assert CRLFolder(blocked).look(offline.issuer().certificate, None) == ((0, 0, 0), 0)


def test_who_may_bring_a_crl(offline: Stack) -> None:
    """VA-2: admins only, and it is in the audit log."""
    user = Principal(PrincipalKind.ACCOUNT, "user", 1, Role.USER, frozenset({Scope.READ, Scope.ENROLL}))
    data = brought(offline.files.root)
    failure_of(offline.app.publisher.uploads.upload(user, data), NotAuthorized)
    published = result_of(offline.app.publisher.uploads.upload(SYSTEM, data))
    assert published.number == 5
    newest = result_of(offline.app.store.events(ListQuery(limit=1))).items[0].event
    assert (newest.type, newest.resource_type, newest.details["number"]) == ("upload", "CRL", 5)
