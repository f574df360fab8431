"""Reports of a node that lacks a schema or key files which other nodes use (HA-1, RUN-8)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from twisted.logger import capturedLogs

import pytest
from sqlalchemy import create_engine, text

from pikachu.ca.infrastructure import describe_own
from pikachu.core.model.certificates import Infrastructure, RevocationReason
from pikachu.core.model.times import utc
from pikachu.operations.node_checks import NODE_CHECKS
from pikachu.operations.readiness import State
from pikachu.x509.certificate import parse_certificate
from tests.support.deferreds import result_of
from tests.support.pki import Identity, make_ca
from tests.support.stack import Stack, make_files, open_stack


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A CA whose clock stands inside its validity."""
    stack = open_stack(make_files(tmp_path / "ca"))
    yield stack
    stack.close()


def state(stack: Stack, name: str) -> State:
    """The state of a check now."""
    stack.clock.advance(10)
    return result_of(stack.app.readiness.states())[name]


def set_schema(stack: Stack, version: str) -> None:
    """Write the version as a newer Pikachu does when it migrates."""
    engine = create_engine(f"sqlite:///{stack.files.folder / 'pikachu.sqlite'}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE pikachu_schema SET version_num = :version"), {"version": version})
    engine.dispose()


def rotated_elsewhere(stack: Stack, name: str = "ec") -> Identity:
    """Register a generation as another node does that has rotated the CA."""
    identity = make_ca("p256", f"Test {name} CA", issuer=stack.files.root, path_length=0, slot=17)
    certificate = parse_certificate(identity.der)
    now = utc(stack.clock.seconds())
    stack.app.store.register_issuer(name, certificate.key_identifier, certificate.der, now)
    return identity


def test_everything_agrees(stack: Stack) -> None:
    """One server, which has all there is, says so."""
    assert {name: state(stack, name).state for name in NODE_CHECKS} == {"schema": "ok", "ca_files": "ok"}


def test_a_newer_schema(stack: Stack) -> None:
    """It is degraded, and says what to do; the log has it once although nobody asks, and often asked."""
    with stack.app.store.database.reader.connect() as connection:
        before = str(connection.execute(text("SELECT version_num FROM pikachu_schema")).scalar())
    set_schema(stack, "9999")
    with capturedLogs() as events:
        for _ in range(3):
            stack.clock.advance(15)
            result_of(stack.app.readiness.refresh(*NODE_CHECKS))
        found = [state(stack, "schema") for _ in range(3)]
    assert {one.state for one in found} == {"degraded"}
    assert "schema 9999. Upgrade this server and restart it" in found[0].message
    logged = [one for one in events if one.get("name") == "schema"]
    assert [(one["state"], one["reason"]) for one in logged] == [("degraded", found[0].message)]
    set_schema(stack, before)
    assert state(stack, "schema").state == "ok"


def test_a_generation_of_another_node(stack: Stack) -> None:
    """The message names the files, the settings and the command; a rotation under way here is not reported."""
    identity = rotated_elsewhere(stack)
    stack.clock.advance(1)
    assert result_of(stack.app.readiness.states())["ca_files"].state == "ok"
    found = state(stack, "ca_files")
    assert found.state == "degraded"
    key = parse_certificate(identity.der).key_identifier.hex()[:16]
    for part in (key, "ec.key ([CA] SUBCA_KEY_PATH_EC)", "ec.crt ([CA] SUBCA_CERT_PATH_EC)", "`pikachu ca rotate ec`"):
        assert part in found.message
    assert str(stack.files.folder) not in found.message, "anyone can read it"


def test_a_generation_that_was_abandoned(stack: Stack) -> None:
    """A revoked one is missing nowhere; neither is one of a CA that this node does not have."""
    rotated_elsewhere(stack, "rsa")
    assert state(stack, "ca_files").state == "ok"
    identity = rotated_elsewhere(stack)
    assert state(stack, "ca_files").state == "degraded"
    certificate = parse_certificate(identity.der)
    root = parse_certificate(stack.files.root.der)
    now = utc(stack.clock.seconds())
    own = describe_own(Infrastructure.ISSUING_CA, certificate, root)
    assert result_of(stack.app.store.add_own([own], now)) == []
    stack.revoke(certificate.serial, RevocationReason.CESSATION_OF_OPERATION)
    assert state(stack, "ca_files").state == "ok"


def test_files_that_can_not_be_used(tmp_path: Path) -> None:
    """A certificate was copied without its key: the node says so until the key is there as well."""
    warnings: list[str] = []
    stack = open_stack(make_files(tmp_path / "ca"), warn=warnings.append)
    certificate, key = stack.files.folder / "ec.crt", stack.files.folder / "ec.key"
    other = make_ca("p256", "Test ec CA", issuer=stack.files.root, path_length=0, slot=18)
    certificate.write_bytes(other.pem)
    (stack.files.folder / "ec-chain.crt").write_bytes(other.chain_pem)
    result_of(stack.app.generations.update(stack.app.issuers))
    found = state(stack, "ca_files")
    assert found.state == "degraded"
    assert "ec have changed and can't be used" in found.message
    assert str(stack.files.folder) not in found.message
    key.write_bytes(other.key_pem)
    result_of(stack.app.generations.update(stack.app.issuers))
    assert state(stack, "ca_files").state == "ok"
    assert stack.app.issuers.named("ec").certificate.der == other.der
    assert len(warnings) == 1
    stack.close()
