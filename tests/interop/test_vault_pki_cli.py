"""The commands of docs/vault-pki.md, and ``pikachu vault`` with the PKI engine, against OpenBao (VLT-1, VLT-4)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from pikachu.signers.references import read_reference
from tests.interop.test_vault_cli import command, follow
from tests.support.rotation import key_identifier_of
from tests.support.site import Site, empty_site, founded_site
from tests.support.vault import OpenBao, openbao

pytestmark = [pytest.mark.interop, pytest.mark.slow]

DOCUMENT = Path(__file__).parents[2] / "docs" / "vault-pki.md"
#: A machine that does much else makes an RSA key slowly.
PATIENT = "[VAULT]\ntimeout = 60s"
START = "From nothing to a working CA"


@pytest.fixture
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """A server of each test's own: they are about an empty one."""
    with openbao(tmp_path_factory.mktemp("openbao")) as server:
        yield server


def issuers(bao: OpenBao, mount: str) -> dict[str, dict[str, object]]:
    """The issuers of a mount that have a key there, by their key identifiers."""
    found = {}
    for name in bao.operator().list(f"{mount}/issuers"):
        data = bao.api("GET", f"{mount}/issuer/{name}")["data"]
        if data["key_id"]:
            found[key_identifier_of(x509.load_pem_x509_certificate(data["certificate"].encode()))] = data
    return found


def generations(site: Site, name: str) -> dict[str, str]:
    """The key identifiers of a CA's generations by their states."""
    return {row[1]: row[3] for row in site.rows("ca", "list") if row[0] == name}


def test_the_document_from_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bao: OpenBao, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new CA whose keys are in both engines, and its rotation."""
    site = empty_site(tmp_path, capsys)
    site.configure(PATIENT)
    follow(site, bao, [START], monkeypatch, DOCUMENT)
    assert sorted(site.do("vault", "status").splitlines()[1:]) == [
        "ec\tpki_ec\tok",
        "ec\tvault:transit/pikachu-ec\tok",
        "rsa\tpki_rsa\tok",
        "rsa\tvault:transit/pikachu-rsa\tok",
    ]
    assert "PRIVATE KEY" not in "".join(path.read_text() for path in site.path("var/pki").glob("subca_*"))
    before = generations(site, "ec")
    (only,) = issuers(bao, "pki_ec").values()
    assert only["crl_distribution_points"] == [f"http://ca.example.org/crl/{before['current']}.crl"]
    site.do("crl")
    assert "made" not in re.findall(r"^(\w+)  the issuer", site.do("init", "--rsa-bits", "2048"), re.MULTILINE)
    follow(site, bao, ["Rotation"], monkeypatch, DOCUMENT)
    assert str(read_reference(site.path("var/pki/subca_ec.key"), "the setting")) == "vault:transit/pikachu-ec?version=2"
    after = generations(site, "ec")
    assert after["former"] == before["current"]
    held = issuers(bao, "pki_ec")
    assert set(held) == set(after.values())
    assert held[after["current"]]["crl_distribution_points"] == [f"http://ca.example.org/crl/{after['current']}.crl"]
    # Both generations sign their CRLs.
    assert len([row for row in site.rows("crl") if row[0] == "ec"]) == 2
    # And for an offline root, Vault signs the request with the next key.
    request = x509.load_pem_x509_csr(Path(site.do("ca", "rotate", "rsa", "--csr-only").splitlines()[-1]).read_bytes())
    assert request.is_signature_valid
    assert not bao.api("GET", "transit/keys/pikachu-ec")["data"]["exportable"]


def test_the_document_for_a_ca_that_exists(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
    bao: OpenBao,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its keys are moved; a role that loses certificates is named by ``setup`` and ``status``, a missing issuer too."""
    site = founded_site(tmp_path, capsys, tmp_path_factory)
    site.configure(PATIENT)
    text = DOCUMENT.read_text("utf-8")
    first, second = re.findall(r"^```ini\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    move, delete = re.findall(
        r"^```sh\n(.*?)^```$", text.partition("## Moving a CA")[2].partition("## Rotation")[0], re.MULTILINE | re.DOTALL
    )
    site.configure(first.replace("127.0.0.1:8200", f"127.0.0.1:{bao.port}"))
    for line in move.splitlines():
        command(site, line, monkeypatch)
    site.configure(second)
    for line in delete.splitlines():
        command(site, line, monkeypatch)
    current = generations(site, "ec")["current"]
    assert set(issuers(bao, "pki_ec")) == {current}
    site.do("crl")
    site.do("ca", "rotate", "ec", "--now")
    assert set(issuers(bao, "pki_ec")) == set(generations(site, "ec").values())

    bao.api("POST", "pki_ec/roles/est", {"key_type": "any", "no_store": True})
    monkeypatch.setenv("VAULT_TOKEN", bao.token)
    assert "left  The role pki_ec/roles/est has no_store = true" in site.do("vault", "setup")
    bao.api("DELETE", "pki_rsa/root")
    assert site.run("vault", "status") == 1
    outcomes = {tuple(line.split("\t")[:2]): line.split("\t")[2] for line in site.out.splitlines()}
    assert outcomes["ec", "pki_ec"].startswith("The role pki_ec/roles/est has no_store = true")
    assert outcomes["rsa", "pki_rsa"].startswith(
        "The mount pki_rsa has no issuer for the certificate of the issuing CA"
    )
    assert outcomes["rsa", "vault:transit/pikachu-rsa"] == "ok"


def test_setup_twice_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bao: OpenBao, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so."""
    site = empty_site(tmp_path, capsys)
    site.configure(PATIENT)
    site.configure(f"[VAULT]\naddress = http://127.0.0.1:{bao.port}\nsigner = pki\nrole_est = est\npki_rsa_path = none")
    monkeypatch.setenv("BAO_TOKEN", bao.token)
    # Keys are sent neither in the clear nor to who knows whom.
    site.configure("[VAULT]\nverify_ssl = false")
    assert "private keys are sent to the PKI engine only where TLS protects them" in site.refused("vault", "setup")
    site.configure("[VAULT]\nverify_ssl = true")
    bao.api("DELETE", "sys/mounts/transit")
    bao.api("DELETE", "sys/mounts/pki_ec")
    first = site.do("vault", "setup", "--rsa-bits", "2048")
    assert re.findall(r"^(made|left|changed)  (.*)$", first, re.MULTILINE) == [
        ("made", "the secrets engine transit at transit/"),
        ("made", "the secrets engine pki at pki_ec/"),
        ("made", "the role pki_ec/roles/est"),
        ("made", "the transit key transit/pikachu-rsa (rsa2048)"),
        ("made", "the transit key transit/pikachu-ec (prime256v1), in pki_ec/ too"),
        ("made", "the policy pikachu"),
        ("made", "the auth method approle at approle/"),
        ("made", "the AppRole pikachu"),
        ("made", "a secret id"),
    ]
    assert "signer = pki\n" in first
    assert set(re.findall(r"^(made|left|changed)  ", site.do("vault", "setup"), re.MULTILINE)) == {"left"}


def test_a_key_in_a_token_is_not_rotated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The token would give the engine no copy of the next key; one line says what to do, and nothing is asked."""
    site = founded_site(tmp_path, capsys, tmp_path_factory)
    site.configure("[PKCS11]\nmodule = config.ini\ntoken = ca\npin = 1234\nkey_label_ec = ec")
    site.configure("[VAULT]\nenabled = true\nsigner = pki\naddress = http://127.0.0.1:1\nrole_id = r\nsecret_id = s")
    site.configure("[VAULT]\ntransit_key_ec = none\ntransit_key_rsa = none\npki_rsa_path = none")
    refusal = site.refused("ca", "rotate", "ec", "--now")
    assert (
        "is pkcs11:token=ca;object=ec;type=private, which gives no copy of the next one to Vault's PKI engine"
        in refusal
    )
    assert "pki_ec_path = none" in refusal
