"""``pikachu csr``: many stored CSRs are listed and signed by one command, as pages and REST do (CSR-2, JOB-1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from pikachu.auth.authenticator import account_principal
from pikachu.cli.csrs import STATES
from pikachu.cli.session import done, opened
from pikachu.config.loading import load
from pikachu.core.model.requests import CSR_STATES
from tests.support.pki import make_csr
from tests.support.site import Site, founded_site


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site with a user who has stored three CSRs."""
    site = founded_site(tmp_path, capsys, tmp_path_factory)
    site.write("pw", "secret99\n")
    site.do("user", "add", "alice", "--email", "alice@example.com", "--role", "user", "--password-file", "pw")
    with opened(load(site.path("config.ini"), {})) as app:
        account = done(app.store.account_by_name("alice"))
        assert account is not None
        alice = account_principal(account, "192.0.2.1")
        for number in range(3):
            _, csr = make_csr(subject=f"pump-{number}.example.com", slot=number)
            done(app.requests.store(alice, f"pump {number}", csr))
    return site


def test_states() -> None:
    """The choices of the command are the states."""
    assert STATES == CSR_STATES


def test_list(site: Site) -> None:
    """By state and by words; with the user."""
    rows = site.rows("csr", "list", "--state", "pending")
    assert [(row[0], row[1], row[2], row[6]) for row in rows] == [
        (str(number + 1), f"pump {number}", "pending", "alice") for number in range(3)
    ]
    assert [row[1] for row in site.rows("csr", "list", "--search", "PUMP-1")] == ["pump 1"]
    assert site.rows("csr", "list", "--state", "signed") == []


def test_some(site: Site) -> None:
    """Each once, whose user gets the certificate; what can't be signed is named, and the rest is signed."""
    site.write("ext.cnf", "[ v3_ext ]\nextendedKeyUsage = clientAuth\n")
    site.do("policy", "add", "pumps", "--days", "30", "--extensions", "ext.cnf", "--system")
    (row,) = site.rows("csr", "sign", "2", "2", "--policy", "pumps")
    assert site.run("csr", "sign", "1", "2", "99", "3", "--policy", "pumps") == 1
    assert [line.partition("\t")[0] for line in site.out.splitlines()] == ["1", "3"]
    assert site.err.splitlines() == [
        "CSR 2: It was signed before.",
        "CSR 99: There is no such certificate signing request.",
    ]
    with opened(load(site.path("config.ini"), {})) as app:
        record = done(app.store.certificate_by_serial(int(row[1], 16)))
        account = done(app.store.account_by_name("alice"))
    assert account is not None
    assert (record.owner_id, record.policy, record.method.value) == (account.id, "pumps", "CLI")
    assert [one[2] for one in site.rows("csr", "list")] == ["signed"] * 3


def test_all_that_are_pending(site: Site) -> None:
    """Their number is confirmed, as a job's is."""
    assert "3 CSRs are pending now, not 2" in site.refused("csr", "sign", "--pending", "2")
    assert [row[2] for row in site.rows("csr", "list")] == ["pending"] * 3
    assert [row[0] for row in site.rows("csr", "sign", "--pending", "3")] == ["1", "2", "3"]
    assert "0 CSRs are pending" in site.refused("csr", "sign", "--pending", "1")


def test_manual_approval(site: Site) -> None:
    """Under a policy with approval by the owner of another account nothing is issued yet, which is no failure."""
    site.write("ext.cnf", "[ v3_ext ]\n")
    site.do("policy", "add", "checked", "--days", "30", "--extensions", "ext.cnf", "--system", "--manual")
    assert site.do("csr", "sign", "1", "--policy", "checked") == ""
    assert site.err.startswith("CSR 1: pending approval ")


@pytest.mark.parametrize("arguments", [(), ("1", "--pending", "1"), ("--pending", "0"), ("x",)])
def test_usage(site: Site, arguments: tuple[str, ...]) -> None:
    """Ids, or all that are pending: not neither, and not both."""
    assert site.run("csr", "sign", *arguments) == 2
