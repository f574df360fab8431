"""``pikachu vault``, and the commands of docs/vault.md, against OpenBao (VLT-1, VLT-4)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from pikachu.config.editing import set_key
from pikachu.signers.references import read_reference
from tests.support.site import Site, empty_site, founded_site
from tests.support.vault import OpenBao, openbao

pytestmark = [pytest.mark.interop, pytest.mark.slow]

DOCUMENT = Path(__file__).parents[2] / "docs" / "vault.md"
BLOCK = re.compile(r"^```(sh|ini)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SETTING = re.compile(r"^(role_id|secret_id) = (\S+)$", re.MULTILINE)


@pytest.fixture
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """A server of each test's own: they are about an empty one."""
    with openbao(tmp_path_factory.mktemp("openbao")) as server:
        yield server


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    """A folder with the shipped configuration."""
    return empty_site(tmp_path, capsys)


@pytest.fixture
def founded(tmp_path: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A CA with key files."""
    return founded_site(tmp_path, capsys, tmp_path_factory)


def follow(
    site: Site, bao: OpenBao, headings: list[str], environment: pytest.MonkeyPatch, document: Path = DOCUMENT
) -> None:
    """Do what sections of the document say, with the address of the test's server and a small RSA key."""
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", document.read_text("utf-8"), re.MULTILINE | re.DOTALL))
    for heading in headings:
        for kind, text in BLOCK.findall(sections[heading]):
            if kind == "ini":
                site.configure(text.replace("127.0.0.1:8200", f"127.0.0.1:{bao.port}"))
                continue
            for line in text.splitlines():
                command(site, line.replace("--rsa-bits 4096", "--rsa-bits 2048"), environment)


def command(site: Site, line: str, environment: pytest.MonkeyPatch) -> None:
    """Do one line of a shell."""
    match shlex.split(line):
        case ["export", assignment]:
            environment.setenv(*assignment.split("=", 1))
        case ["unset", name]:
            environment.delenv(name)
        case ["rm", name]:
            site.path(name).unlink()
        case ["pikachu", *arguments]:
            output = site.do(*arguments)
            if arguments[:2] == ["vault", "setup"]:
                for name, value in SETTING.findall(output):
                    environment.setenv(f"PIKACHU_{name.upper()}", value)
        case other:
            raise AssertionError(f"a command that this test does not know: {other}")


def test_the_document_from_nothing(site: Site, bao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new CA whose keys were made in Vault, and its rotation."""
    follow(site, bao, ["From nothing to a working CA"], monkeypatch)
    assert site.do("vault", "status").splitlines()[1:] == [
        "ec\tvault:transit/pikachu-ec\tok",
        "rsa\tvault:transit/pikachu-rsa\tok",
    ]
    assert "PRIVATE KEY" not in "".join(path.read_text() for path in site.path("var/pki").glob("subca_*"))
    site.do("crl")
    follow(site, bao, ["Rotation", "Credentials"], monkeypatch)
    assert str(read_reference(site.path("var/pki/subca_ec.key"), "the setting")) == "vault:transit/pikachu-ec?version=2"
    assert [row[:2] for row in site.rows("ca", "list") if row[0] == "ec"] == [["ec", "former"], ["ec", "current"]]
    # Both generations sign their CRLs.
    assert len([row for row in site.rows("crl") if row[0] == "ec"]) == 2
    # And for an offline root, Vault signs the request with the next key.
    request = x509.load_pem_x509_csr(Path(site.do("ca", "rotate", "rsa", "--csr-only").splitlines()[-1]).read_bytes())
    assert request.is_signature_valid
    issued = bao.api("GET", "transit/keys/pikachu-ec")["data"]
    assert (issued["latest_version"], issued["exportable"]) == (2, False)


def test_the_document_for_a_ca_that_exists(founded: Site, bao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its key is moved, and signs as before."""
    founded.configure(f"[VAULT]\naddress = http://127.0.0.1:{bao.port}")
    sections = DOCUMENT.read_text("utf-8")
    move, _, rest = sections.partition("## Moving a CA that exists")[2].partition("Set `enabled`")
    for kind, text in BLOCK.findall(move):
        assert kind == "sh"
        for line in text.splitlines():
            command(founded, line, monkeypatch)
    founded.configure("[VAULT]\nenabled = true\nsigner = transit\nrole_id = ${PIKACHU_ROLE_ID}")
    founded.configure("[VAULT]\nsecret_id = ${PIKACHU_SECRET_ID}")
    for kind, text in BLOCK.findall(rest.partition("## Rotation")[0]):
        if kind == "ini":
            founded.configure(text)
        else:
            for line in text.splitlines():
                command(founded, line, monkeypatch)
    assert founded.do("vault", "status").splitlines()[1:] == ["ec\tvault:transit/pikachu-ec\tok"]
    founded.do("crl")
    founded.do("ca", "rotate", "ec", "--now")
    assert (
        str(read_reference(founded.path("var/pki/subca_ec.key"), "the setting")) == "vault:transit/pikachu-ec?version=2"
    )


def test_setup_twice_changes_nothing(site: Site, bao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, and tells no secret id again; what somebody changed in the policy is put right."""
    site.configure(f"[VAULT]\naddress = http://127.0.0.1:{bao.port}")
    monkeypatch.setenv("BAO_TOKEN", bao.token)
    first = site.do("vault", "setup", "--rsa-bits", "2048")
    assert re.findall(r"^(made|left|changed)  (.*)$", first, re.MULTILINE) == [
        ("made", "the secrets engine transit at transit/"),
        ("made", "the transit key transit/pikachu-rsa (rsa2048)"),
        ("made", "the transit key transit/pikachu-ec (prime256v1)"),
        ("made", "the policy pikachu"),
        ("made", "the auth method approle at approle/"),
        ("made", "the AppRole pikachu"),
        ("made", "a secret id"),
    ]
    second = site.do("vault", "setup")
    assert set(re.findall(r"^(made|left|changed)  ", second, re.MULTILINE)) == {"left"}
    assert "secret_id = " not in second.replace("secret_id = ${PIKACHU_SECRET_ID}", "")
    bao.api("PUT", "sys/policies/acl/pikachu", {"policy": 'path "x" { capabilities = ["read"] }'})
    assert "changed  the policy pikachu" in site.do("vault", "setup")
    token = site.write("token", f"{bao.token}\n")
    monkeypatch.delenv("BAO_TOKEN")
    assert "made  a secret id" in site.do("vault", "setup", "--new-secret-id", "--token-file", str(token))


def test_refusals(founded: Site, bao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each, which says what to do."""
    for name in ("VAULT_TOKEN", "BAO_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert "no token of an operator: set VAULT_TOKEN" in founded.refused("vault", "setup")
    assert "role_id and secret_id: not set" in founded.refused("vault", "status")
    monkeypatch.setenv("VAULT_TOKEN", "wrong-token")
    assert "[VAULT] address: not set" in founded.refused("vault", "setup")
    founded.configure(f"[VAULT]\naddress = http://127.0.0.1:{bao.port}")
    refusal = founded.refused("vault", "setup")
    assert "Vault denies access to sys/mounts" in refusal
    assert "wrong-token" not in refusal
    monkeypatch.setenv("VAULT_TOKEN", bao.token)
    bao.api("POST", "sys/mounts/transit", {"type": "kv"})
    assert "something else than the secrets engine transit; choose another path" in founded.refused("vault", "setup")
    founded.configure("[VAULT]\ntransit_path = signing/keys")
    # Another key of that name is not the CA's.
    founded.do("vault", "setup")
    bao.api("POST", "signing/keys/keys/pikachu-ec", {"type": "ecdsa-p256"})
    assert "is not the key of the certificate" in founded.refused("vault", "import", "ec")
    founded.do("vault", "import", "rsa")
    (founded.path("var/pki/subca_ec.key")).write_bytes(founded.path("var/pki/root.key").read_bytes())
    assert "is not the key of the certificate" in founded.refused("vault", "import", "ec")
    founded.configure("[VAULT]\ntransit_key_ec = a b")
    assert "names no transit key" in founded.refused("vault", "import", "ec")


def test_status_says_what_is_wrong(founded: Site, bao: OpenBao) -> None:
    """And ends with 1."""
    role = bao.approle()
    for (section, key), value in bao.settings(role, retry_attempts="0").items():
        set_key(founded.path("config.ini"), section, key, value)
    assert founded.run("vault", "status") == 1
    rows = [line.split("\t") for line in founded.out.splitlines()]
    assert [row[0] for row in rows] == ["vault", "ec", "rsa"]
    assert rows[0][2] == "ok"
    assert rows[1][2] == "Vault has no transit/keys/pikachu-ec. Check the name in [VAULT]."
    bao.stop()
    assert founded.run("vault", "status") == 1
    assert "Vault can't be reached" in founded.out
