"""``pikachu key import`` and ``pikachu ca import``: existing keys and CAs are imported, and nothing is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from pikachu.cli.session import opened
from pikachu.config.loading import load
from pikachu.core.model.list_queries import ListQuery
from pikachu.x509.keys import generate_private_key, load_private_key, private_key_info, private_key_pem
from tests.support.deferreds import result_of
from tests.support.pki import Identity, make_ca, make_csr, make_leaf
from tests.support.site import SMALL, Site, empty_site, founded_site
from tests.support.text_forms import TEXT_FORMS

PASSPHRASE = "open sesame"


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    return empty_site(tmp_path, capsys)


def pfx(identity: Identity, *above: Identity, name: bytes = b"CA", passphrase: str = PASSPHRASE) -> bytes:
    """Key, certificate and those above it."""
    protection = serialization.BestAvailableEncryption(passphrase.encode())
    chain = [one.certificate for one in above]
    return pkcs12.serialize_key_and_certificates(name, identity.key, identity.certificate, chain, protection)  # type: ignore[arg-type]


# --- keys ------------------------------------------------------------------------------------


def test_key_import(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The id is printed; the key is the named user's, or nobody's."""
    site = founded_site(tmp_path, capsys, tmp_path_factory)
    private = private_key_pem(generate_private_key("prime256v1"), PASSPHRASE)
    site.write("device.key", private)
    site.write("device16.key", private.encode("utf-16"))
    site.write("words", PASSPHRASE + "\n")
    site.write("device.p12", pfx(make_leaf(make_ca())))
    unlock = ("--passphrase-file", "words")
    assert site.do("key", "import", "device.key", "--name", "one", *unlock, "--user", "admin") == "1"
    assert "already stored" in site.refused("key", "import", "device16.key", "--name", "x", *unlock, "--user", "admin")
    assert site.do("key", "import", "device16.key", "--name", "two", *unlock) == "2"
    assert site.do("key", "import", "device.p12", "--name", "three", *unlock, "--alias", "ca") == "3"
    assert "passphrase" in site.refused("key", "import", "device.key", "--name", "x")
    assert "alias" in site.refused("key", "import", "device.p12", "--name", "x", *unlock, "--alias", "other")
    assert "no private key" in site.refused("key", "import", "words", "--name", "x")
    assert "no account" in site.refused("key", "import", "device.key", "--name", "x", *unlock, "--user", "nobody")


# --- CAs -------------------------------------------------------------------------------------


@pytest.fixture
def root() -> Identity:
    return make_ca(name="Existing Root")


def test_ca_import(site: Site, root: Identity) -> None:
    """From PKCS#12 and from files; init leaves what was imported, and both CAs sign."""
    ec, rsa = (
        make_ca("p256", issuer=root, name="Existing EC CA"),
        make_ca("rsa2048", issuer=root, name="Existing RSA CA"),
    )
    site.write("ec.p12", pfx(ec, root))
    site.write("words", PASSPHRASE + "\n")
    site.config(lambda text: text.replace(";SUBCA_KEY_PASSPHRASE_FILE_EC =", "SUBCA_KEY_PASSPHRASE_FILE_EC = words"))
    made = site.do("ca", "import", "ec", "--pkcs12", "ec.p12", "--passphrase-file", "words")
    pki = site.path("var/pki")
    assert [Path(line.split()[1]).name for line in made.splitlines()] == [
        "subca_ec.key",
        "chain_ec.pem",
        "root.crt",
        "subca_ec.crt",
    ]
    assert b"ENCRYPTED" in (pki / "subca_ec.key").read_bytes()
    load_private_key((pki / "subca_ec.key").read_bytes(), PASSPHRASE)
    assert (pki / "chain_ec.pem").read_bytes() == ec.pem + root.pem
    assert (pki / "subca_ec.key").stat().st_mode & 0o777 == 0o600
    site.write("rsa.key", rsa.key_pem)
    site.write("rsa.crt", rsa.pem.decode().encode("utf-16"))
    site.write("above.pem", root.pem)
    site.do("ca", "import", "rsa", "--key", "rsa.key", "--cert", "rsa.crt", "--chain", "above.pem")
    assert (pki / "chain_rsa.pem").read_bytes() == rsa.pem + root.pem
    left = [line for line in site.do("init", *SMALL).splitlines() if line.startswith("left")]
    assert len([line for line in left if "var/pki" in line]) >= 6
    site.write("device.csr", TEXT_FORMS["UTF-16 LE"]("NEW CERTIFICATE REQUEST", make_csr()[1]))
    for name in ("ec", "rsa"):
        assert "BEGIN CERTIFICATE" in site.do("sign", "device.csr", "--issuer", name)
    before = {path: path.read_bytes() for path in pki.iterdir()}
    assert "exists" in site.refused("ca", "import", "ec", "--pkcs12", "ec.p12", "--passphrase-file", "words")
    assert {path: path.read_bytes() for path in pki.iterdir()} == before


def test_ca_import_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory, root: Identity
) -> None:
    """Where the database exists, the audit log records the imported key."""
    site = founded_site(tmp_path, capsys, tmp_path_factory)
    for path in site.path("var/pki").glob("*_ec.*"):
        path.unlink()
    site.path("var/pki/root.crt").unlink()
    ca = make_ca("p256", issuer=root, name="Existing EC CA")
    site.write("ec.p12", pfx(ca, root))
    site.write("words", PASSPHRASE + "\n")
    site.config(
        lambda text: "".join(line for line in text.splitlines(keepends=True) if not line.split(" ")[0].endswith("_RSA"))
    )
    command = ("ca", "import", "ec", "--pkcs12", "ec.p12", "--passphrase-file", "words")
    assert "ROOT_CERT_PATH" in site.refused(*command)
    site.path("var/pki/root.key").unlink()
    site.do(*command)
    with opened(load(site.path("config.ini"), {})) as app:
        (record,) = result_of(app.store.events(ListQuery(filters={"type": "import"}))).items
    assert (record.event.resource_type, record.event.resource_name) == ("issuer", "ec")
    assert record.event.details["key"] == ca.key_identifier.hex()


@pytest.mark.parametrize("case", ["other key", "no CA", "wrong family", "no root", "foreign certificate", "passphrase"])
def test_ca_import_refusals(site: Site, root: Identity, case: str) -> None:
    """The error is one line, and no file is left."""
    ca = make_ca("p256", issuer=root, name="Existing EC CA")
    site.write("words", PASSPHRASE + "\n")
    source = ["--pkcs12", "ca.p12", "--passphrase-file", "words"]
    name, named = "ec", ""
    if case == "other key":
        site.write("ca.key", make_ca().key_pem)
        site.write("ca.crt", ca.pem + root.pem)
        source, named = ["--key", "ca.key", "--cert", "ca.crt"], "no certificate belongs"
    elif case == "no CA":
        site.write("ca.p12", pfx(make_leaf(root), root))
        named = "CA:TRUE"
    elif case == "wrong family":
        site.write("ca.p12", pfx(ca, root))
        name, named = "rsa", "EC/prime256v1"
    elif case == "no root":
        site.write("ca.p12", pfx(ca))
        named = "chain does not verify"
    elif case == "foreign certificate":
        site.write("ca.p12", pfx(ca, make_ca(name="Existing Root")))
        named = "chain does not verify"
    else:
        site.write("ca.p12", pfx(ca, root, passphrase="another"))
        named = "passphrase"
    assert named in site.refused("ca", "import", name, *source)
    assert not site.path("var/pki").exists()


def test_ca_import_of_an_ml_dsa_ca(site: Site, root: Identity) -> None:
    """With the three lines in config.ini that it needs; the key is stored as its seed."""
    ca = make_ca("mldsa65", issuer=root, name="Existing ML-DSA CA")
    files = {"SUBCA_KEY_PATH": "subca_mldsa.key", "SUBCA_CERT_PATH": "subca_mldsa.crt", "CHAIN_FILE_PATH": "chain.pem"}
    lines = "".join(f"{name}_MLDSA = var/pki/{file}\n" for name, file in files.items())
    site.config(lambda text: text.replace("[CA]\n", f"[CA]\n{lines}", 1))
    site.write("ca.key", ca.key_pem)
    site.write("chain", ca.pem + root.pem)
    site.do("ca", "import", "mldsa", "--key", "ca.key", "--cert", "chain")
    stored = load_private_key((site.path("var/pki") / "subca_mldsa.key").read_bytes())
    assert private_key_info(stored) == private_key_info(load_private_key(ca.key_pem))


def test_ca_import_of_what_is_not_configured(site: Site, root: Identity) -> None:
    """The setting to make is named."""
    site.write("ca.p12", pfx(root))
    assert "SUBCA_KEY_PATH_MLDSA" in site.refused("ca", "import", "mldsa", "--pkcs12", "ca.p12")
    assert "--cert" in site.refused("ca", "import", "ec", "--key", "ca.p12")
    assert site.run("ca", "import", "ec") == 2
    assert site.run("ca", "import", "other", "--pkcs12", "ca.p12") == 2
