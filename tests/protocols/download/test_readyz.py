"""``/readyz`` reports real failures, each in the check meant for it (RUN-8)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

import pytest

from pikachu.ca.service_certificates import OCSP
from pikachu.core.errors import ConfigError, StoreUnavailable
from pikachu.core.model.events import Event
from pikachu.core.model.requests import NewCSR
from pikachu.http.tree import Tree
from pikachu.operations.readiness import Check, Readiness
from pikachu.protocols.download.health import Ready
from pikachu.server.downloads import download_tree
from tests.support.clocks import SteppedClock
from tests.support.databases import NOW
from tests.support.deferreds import result_of
from tests.support.stack import Changes, Stack, ask, build_core, make_files, open_stack

DAY = 86400
NAMES = ("database", "write", "signer", "clock", "crl ec", "ocsp ec")


def built(folder: Path, changes: Changes | None = None) -> Stack:
    """An EC and an RSA CA below a root whose key is here; CRLs are published."""
    stack = build_core(folder / "ca", SteppedClock(), ("p256", "rsa2048"), changes=changes)
    result_of(stack.app.publisher.begin())
    return stack


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = built(tmp_path)
    yield made
    made.close()


def readyz(stack: Stack, **checks: Check | None) -> tuple[int, dict[str, Any]]:
    """The answer."""
    tree = Tree()
    for name, resource in download_tree(stack.app, checks).items():
        tree.putChild(name, resource)
    response = ask(stack.site(tree), stack.clock, "/readyz")
    assert response.headers["Cache-Control"] == "no-store"
    return response.status, json.loads(response.body)


def failing(stack: Stack) -> dict[str, str]:
    """The messages of the checks that fail; each is a sentence without a path."""
    stack.clock.advance(11)
    status, document = readyz(stack)
    found = {name: document["messages"][name] for name, state in document["checks"].items() if state == "unavailable"}
    assert (status, document["status"]) == ((503, "unavailable") if found else (200, "ok"))
    for message in found.values():
        assert str(stack.files.folder) not in message
    return found


def test_ready(stack: Stack) -> None:
    """Each check has its state and a message."""
    status, document = readyz(stack)
    assert (status, document["status"]) == (200, "ok")
    assert document["checks"] == {
        **dict.fromkeys(("database", "write", "secret_key", "schema", "ca_files", "signer", "disk", "clock"), "ok"),
        **dict.fromkeys(("pkcs11", "vault", "ldap", "mqtt"), "disabled"),
        **{f"{what} {name}": "ok" for name in ("ec", "rsa", "root") for what in ("ocsp", "crl")},
    }
    said = {"ok": "Ready.", "disabled": "Not configured."}
    assert document["messages"] == {name: said[state] for name, state in document["checks"].items()}


# --- broken by real means ----------------------------------------------------------------------


def fill_database(stack: Stack) -> None:
    """No page can be added, as on a full disk."""
    store = stack.app.store

    def pragma(text: str) -> int:
        with store.database.writer.connect() as connection:
            return int(connection.exec_driver_sql(f"PRAGMA {text}").scalar_one())

    # What is free within the file is used up first.
    for number in range(500):
        if not pragma("freelist_count"):
            break
        event = Event("create", "CSR", "name", "x")
        result_of(store.add_csr(NewCSR(f"{number}", bytes(3000), "CN=name", "EC", None), event, NOW))
    pragma("max_page_count = 1")


def damage_database(stack: Stack) -> None:
    """It is no database any more."""
    stack.app.store.release_connections()
    path = stack.files.folder / "pikachu.sqlite"
    for other in stack.files.folder.glob("pikachu.sqlite-*"):
        other.unlink()
    path.write_bytes(b"\xa5" * path.stat().st_size)


def take_tables(stack: Stack) -> None:
    """Somebody has changed the schema."""
    connection = sqlite3.connect(stack.files.folder / "pikachu.sqlite", isolation_level=None)
    connection.execute("ALTER TABLE service_credentials RENAME TO away")
    connection.close()


def close_database(stack: Stack) -> None:
    """It is closed."""
    result_of(stack.app.store.close())


def replace_folder(stack: Stack) -> None:
    """A file in the place of the folder of CRLs."""
    folder = stack.files.folder / "crl"
    folder.rename(stack.files.folder / "away")
    folder.write_text("not a folder")


def block_copy(stack: Stack) -> None:
    """A folder in the place of the brokers' copy of the default CA's CRL."""
    path = stack.files.folder / "crl" / "ca.crl"
    path.unlink()
    path.mkdir()


def damage_crl(stack: Stack) -> None:
    """Another CA's CRL in the place of one."""
    der, _ = stack.app.publisher.paths(stack.issuer("rsa"))
    other, _ = stack.app.publisher.paths(stack.issuer("ec"))
    der.write_bytes(other.read_bytes())


def remove_crl(stack: Stack) -> None:
    """A CRL is gone."""
    stack.app.publisher.paths(stack.issuer("rsa"))[0].unlink()


def let_crls_expire(stack: Stack) -> None:
    """Nothing publishes."""
    stack.app.publisher.stop()
    stack.clock.advance(8 * DAY)


def set_clock_back(stack: Stack) -> None:
    """By so little that the CRLs are not yet looked at, and by more than certificates begin early."""
    clock: Any = stack.clock
    stack.app.publisher.stop()
    clock.step(-20 * 60)


def set_clock_back_years(stack: Stack) -> None:
    """Behind the CAs themselves."""
    clock: Any = stack.clock
    clock.step(-900 * DAY)


ALL_CRLS = {"crl ec", "crl rsa", "crl root"}
ALL_OCSP = {"ocsp ec", "ocsp rsa", "ocsp root"}
# Checks that ask the database for what it says of schema and CAs.
OF_DATABASE = {"schema", "ca_files"}
BREAKAGES: list[tuple[Callable[[Stack], None], set[str], str]] = [
    (fill_database, {"write"}, "does not answer"),
    (damage_database, {"database", "write", "secret_key"}, "does not answer"),
    (take_tables, {"write", "secret_key"}, "the log has the reason"),
    (close_database, {"database", "write", "secret_key"}, "closed"),
    (replace_folder, ALL_CRLS, "CRL"),
    (block_copy, {"crl ec"}, "Is a directory"),
    (damage_crl, {"crl rsa"}, "CRL"),
    (remove_crl, {"crl rsa"}, "published no CRL"),
    (let_crls_expire, ALL_CRLS, "expired"),
    (set_clock_back, {*ALL_CRLS, "clock"}, "clock"),
    (set_clock_back_years, {*ALL_CRLS, "clock"}, "clock"),
]


@pytest.mark.parametrize(("break_it", "names", "says"), BREAKAGES, ids=[one.__name__ for one, *_ in BREAKAGES])
def test_what_is_broken(stack: Stack, break_it: Callable[[Stack], None], names: set[str], says: str) -> None:
    assert failing(stack) == {}
    stack.app.publisher.stop()
    break_it(stack)
    found = failing(stack)
    assert names <= set(found)
    # What else fails follows from it.
    allowed = {*names, *(ALL_OCSP if names & {"database", "clock"} else ())}
    allowed |= OF_DATABASE if "database" in names else set()
    assert set(found) <= allowed, found
    for name in names:
        assert says in found[name], found


# --- more ----------------------------------------------------------------------------------------


def test_another_secret_key(tmp_path: Path) -> None:
    """After a start with another SECRET_KEY, sealed secrets, such as the responders' keys, can't be opened."""
    stack = built(tmp_path)
    assert failing(stack) == {}
    stack.close()
    (stack.files.folder / "secret_key").write_text("another secret key of some length\n", encoding="ascii")
    warnings: list[str] = []
    again = open_stack(stack.files, stack.clock, warn=warnings.append)
    result_of(again.app.publisher.begin())
    assert set(failing(again)) == {"secret_key", *ALL_OCSP}
    assert warnings
    again.close()


def test_free_space(tmp_path: Path) -> None:
    """More is required than any disk has; and the check can be turned off."""
    stack = built(tmp_path / "much", {("DEFAULT", "min_free_space"): "1024G"})
    message = failing(stack)["disk"]
    assert "min_free_space" in message
    assert message.endswith(".")
    stack.close()
    stack = built(tmp_path / "none", {("DEFAULT", "min_free_space"): "0"})
    assert readyz(stack)[1]["checks"]["disk"] == "disabled"
    stack.close()
    with pytest.raises(ConfigError, match="min_free_space"):
        make_files(tmp_path / "wrong", changes={("DEFAULT", "min_free_space"): "little"}).load()


def test_before_the_first_crls(tmp_path: Path) -> None:
    stack = build_core(tmp_path / "ca", SteppedClock(), ("p256",))
    assert set(failing(stack)) == {"crl ec", "crl root"}
    result_of(stack.app.publisher.begin())
    assert failing(stack) == {}
    stack.close()


def test_it_gets_better(stack: Stack) -> None:
    """A failed check passes once its cause is gone; a clock that was ahead recovers by itself."""
    clock: Any = stack.clock
    clock.step(3 * 3600)
    for issuer in stack.app.issuers.all():
        result_of(stack.app.publisher.make(issuer))
    result_of(stack.app.responder.prepare())
    clock.step(-3 * 3600)
    assert {"clock", *ALL_CRLS} <= set(failing(stack))
    clock.advance(60)
    assert failing(stack) == {}


def test_ocsp_turned_off(tmp_path: Path) -> None:
    stack = built(tmp_path, {("OCSP", "enabled"): "false"})
    assert not [name for name in readyz(stack)[1]["checks"] if name.startswith("ocsp")]
    stack.close()


def test_probes_leave_nothing(stack: Stack) -> None:
    """The database has no row more, and the folder of CRLs no file."""
    result_of(stack.app.responder.prepare())
    folder = stack.files.folder / "crl"
    rows = result_of(stack.app.store.service_credentials(stack.issuer().key_identifier, OCSP.name))
    files = sorted(folder.iterdir())
    for _ in range(5):
        assert failing(stack) == {}
    assert result_of(stack.app.store.service_credentials(b"", "probe")) == []
    assert result_of(stack.app.store.service_credentials(stack.issuer().key_identifier, OCSP.name)) == rows
    assert sorted(folder.iterdir()) == files


def test_vault_has_fallen_back(stack: Stack) -> None:
    """A fallback gives 200 with *degraded*; a refusal gives 503."""
    status, document = readyz(stack, vault=Check(lambda: succeed("The key files sign.")))
    assert (status, document["status"]) == (200, "degraded")
    assert (document["checks"]["vault"], document["messages"]["vault"]) == ("degraded", "The key files sign.")
    status, document = readyz(stack, vault=Check(lambda: fail(StoreUnavailable("Vault is sealed."))))
    assert (status, document["messages"]["vault"]) == (503, "Vault is sealed.")


def test_a_check_that_hangs(stack: Stack) -> None:
    """RUN-8: the answer takes two seconds."""

    def hanging() -> Deferred[str | None]:
        stack.clock.callLater(0, stack.clock.advance, 3)
        return Deferred()

    status, document = readyz(stack, vault=Check(hanging))
    assert (status, document["checks"]["vault"]) == (503, "unavailable")
    assert document["checks"]["database"] == "ok"


@pytest.mark.parametrize(
    ("query", "broken", "status"),
    [
        ("?for=enrollment", "signer", 503),
        ("?for=status", "signer", 200),
        ("?for=enrollment", "database", 503),
        ("?for=status", "database", 200),
        ("?for=enrollment", "crl ec", 200),
        ("?for=status", "crl ec", 503),
        ("?for=status", "ocsp ec", 503),
        ("?for=status", "clock", 503),
        ("", "crl ec", 503),
        ("?for=everything", None, 400),
        ("?for=status&for=enrollment", None, 400),
    ],
)
def test_for_a_purpose(stack: Stack, query: str, broken: str | None, status: int) -> None:
    """A proxy keeps a server for OCSP and CRLs while it can't enroll, and the other way round (RUN-8)."""
    checks = {} if broken is None else {broken: Check(lambda: fail(StoreUnavailable("broken")))}
    readiness = Readiness(stack.clock, {**dict.fromkeys(NAMES, Check(lambda: succeed(None))), **checks})
    tree = Tree()
    tree.putChild(b"readyz", Ready(readiness))
    response = ask(stack.site(tree), stack.clock, f"/readyz{query}")
    assert response.status == status, response.body
