"""``pikachu init`` (INIT-1 to INIT-4)."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from pikachu.ca.bootstrap import write_new
from pikachu.cli.bootstrap import Initialization
from pikachu.cli.main import parser
from pikachu.cli.session import done, opened
from pikachu.config.loading import load
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM
from pikachu.inventory.template_files import SHIPPED_FOLDER
from pikachu.x509.keys import load_private_key
from tests.support.lint import check_certificate, findings
from tests.support.site import PASSWORD, SMALL, Site, empty_site, founded_site

KEYS = ("root", "subca_ec", "subca_rsa", "https")


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    return empty_site(tmp_path, capsys)


@pytest.fixture
def founded(tmp_path: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory) -> Site:
    return founded_site(tmp_path, capsys, tmp_path_factory)


def certificates(site: Site, name: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(site.path(f"var/pki/{name}").read_bytes())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_makes_everything(site: Site) -> None:
    """INIT-1, INIT-3: the CAs, their chains, HTTPS, the database, admin; keys 0600, their folder 0700."""
    before = os.umask(0)
    try:
        site.do("init", "--hostname", "ca.example.com", "--hostname", "192.0.2.1", *SMALL)
    finally:
        os.umask(before)
    (root,) = certificates(site, "root.crt")
    (sub_ec,) = certificates(site, "subca_ec.crt")
    (sub_rsa,) = certificates(site, "subca_rsa.crt")
    https = certificates(site, "https.crt")

    assert root.subject.rfc4514_string() == "CN=Pikachu Root CA"
    public = root.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.curve.name == "secp256r1"
    assert round((root.not_valid_after_utc - root.not_valid_before_utc).days / 365) == 10
    assert isinstance(sub_ec.public_key(), ec.EllipticCurvePublicKey)
    assert isinstance(sub_rsa.public_key(), rsa.RSAPublicKey)
    for authority, path_length in ((root, 1), (sub_ec, 0), (sub_rsa, 0)):
        authority.verify_directly_issued_by(root)
        constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
        assert constraints.critical
        assert constraints.value == x509.BasicConstraints(ca=True, path_length=path_length)
        usage = authority.extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical
        assert usage.value.key_cert_sign
        assert usage.value.crl_sign
        assert usage.value.digital_signature == (authority is not root)
        own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        assert own == x509.SubjectKeyIdentifier.from_public_key(authority.public_key()).digest
        above = authority.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        assert above == x509.SubjectKeyIdentifier.from_public_key(root.public_key()).digest
        assert authority.serial_number.bit_length() == 159
    assert certificates(site, "chain_ec.pem") == [sub_ec, root]
    assert certificates(site, "chain_rsa.pem") == [sub_rsa, root]

    assert https[1:] == [sub_ec]
    https[0].verify_directly_issued_by(sub_ec)
    names = https[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["ca.example.com", "localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1", "127.0.0.1", "::1"]
    purposes = https[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]

    for name in KEYS:
        assert mode(site.path(f"var/pki/{name}.key")) == 0o600
    assert mode(site.path("var/pki/secret_key")) == 0o600
    assert mode(site.path("var/db/pikachu.sqlite")) == 0o600
    assert mode(site.path("var/pki")) == mode(site.path("var/db")) == 0o700
    assert not list(site.path("var").rglob(".*"))
    assert re.search(r"^admin password: \S{20,}$", site.out, re.MULTILINE)
    assert site.err == ""
    assert site.rows("user", "list")[0][1:5] == ["admin", "admin@localhost", "admin", "active"]


@pytest.mark.parametrize("algorithm", ["prime256v1", "rsa2048", "ed25519", "mldsa44"])
def test_what_it_makes_is_without_fault(site: Site, algorithm: str) -> None:
    """INIT-1: pkilint finds nothing in CA certificates, with any root."""
    options = ["--organization", "Acme", "--country", "DE", "--root-algorithm", algorithm]
    site.do("init", "--mldsa", "65", "--hostname", "ca.example.com", *options, *SMALL)
    (root,) = certificates(site, "root.crt")
    for name in ("root.crt", "subca_ec.crt", "subca_rsa.crt", "subca_mldsa.crt"):
        (made,) = certificates(site, name)
        above = () if made == root else (root.public_bytes(Encoding.DER),)
        check_certificate(made.public_bytes(Encoding.DER), above)
    # A name of one label is one to pkilint only where the public knows it.
    found = findings(certificates(site, "https.crt")[0].public_bytes(Encoding.DER))
    assert all("localhost" in finding for finding in found), found


def test_the_https_certificate_is_in_the_database(founded: Site) -> None:
    """INIT-1: it went the way of every certificate, so it can be revoked."""
    serial = f"{certificates(founded, 'https.crt')[0].serial_number:x}"
    assert founded.do("revoke", serial) == f"revoked {serial}"


def test_the_revocation_of_an_issuing_ca_is_confirmed(site: Site) -> None:
    """CAR-1: a wrong serial number must not end a CA."""
    site.do("init", *SMALL)
    serial = f"{certificates(site, 'subca_ec.crt')[0].serial_number:x}"
    assert "--confirm issuing_ca" in site.refused("revoke", serial)
    assert site.do("revoke", serial, "--confirm", "issuing_ca") == f"revoked {serial}"
    assert site.do("revoke", serial) == f"revoked {serial}"


def test_a_second_run_leaves_everything(founded: Site) -> None:
    """INIT-1: it never overwrites a file, and lists the files it left unchanged."""
    files = {path: path.read_bytes() for path in founded.path("var/pki").iterdir()}
    lines = founded.do("init").splitlines()
    assert {line.split()[0] for line in lines} == {"left"}
    assert "left  var/pki/root.key" in lines
    assert lines[-2:] == ["left  the certificate templates", "left  the account admin"]
    assert {path: path.read_bytes() for path in founded.path("var/pki").iterdir()} == files
    assert founded.do("init", "--quiet") == ""


def test_shipped_certificate_templates(founded: Site) -> None:
    """TPL-3: one of each shipped file, for everybody; one that was deleted is not made again."""
    shipped = [one.name for one in SHIPPED_FOLDER.glob("*.cnf.j2")]
    with opened(load(founded.path("config.ini"), {})) as app:
        found = done(app.templates.list(SYSTEM, ListQuery(limit=100))).items
        assert sorted(one.origin for one in found) == sorted(shipped)
        assert {one.owner_id for one in found} == {None}
        assert "TLS server request" in {one.name for one in found}
        done(app.templates.delete(SYSTEM, found[0].id))
    assert "left  the certificate templates" in founded.do("init")
    with opened(load(founded.path("config.ini"), {})) as app:
        assert len(done(app.templates.list(SYSTEM, ListQuery(limit=100))).items) == len(shipped) - 1


@pytest.mark.parametrize(
    "missing",
    [
        ("subca_rsa.key", "subca_rsa.crt", "chain_rsa.pem"),
        ("chain_ec.pem",),
        ("https.crt",),
        ("https.crt", "https.key"),
        ("server_ext.cnf",),
        ("validity.conf",),
    ],
)
def test_makes_only_what_is_missing(founded: Site, missing: tuple[str, ...]) -> None:
    """INIT-1: run again, it makes only what is missing."""
    kept = {path: path.read_bytes() for path in founded.path("var/pki").iterdir() if path.name not in missing}
    for name in missing:
        founded.path(f"var/pki/{name}").unlink()
    made = [line for line in founded.do("init", *SMALL).splitlines() if line.startswith("made")]
    assert made == [f"made  var/pki/{name}" for name in sorted(missing, key=lambda name: ".key" not in name)]
    assert {path: path.read_bytes() for path in kept} == kept
    founded.do("audit", "verify")


def test_admin_has_the_password_of_the_file(founded: Site) -> None:
    """INIT-1: the first line of the file, which is not printed."""
    assert "admin password" not in founded.out
    assert PASSWORD not in founded.out
    hashes = founded.path("var/db/pikachu.sqlite").read_bytes()
    assert PASSWORD.encode() not in hashes


def test_names_algorithms_and_lifetimes(site: Site) -> None:
    """INIT-1: subject names, algorithms and lifetimes are options; ML-DSA is one of the algorithms."""
    site.config(
        lambda text: (
            text.replace(";SUBCA_KEY_PATH_MLDSA =", "SUBCA_KEY_PATH_MLDSA = var/pki/pq.key")
            .replace(";SUBCA_CERT_PATH_MLDSA =", "SUBCA_CERT_PATH_MLDSA = var/pki/pq.crt")
            .replace(";CHAIN_FILE_PATH_MLDSA =", "CHAIN_FILE_PATH_MLDSA = var/pki/pq.pem")
            .replace(";public_url =", "public_url = http://ca.example.com:8080")
        )
    )
    options = ["--organization", "Acme", "--country", "DE", "--root-name", "Acme Root", "--ec-name", "Acme EC"]
    options += ["--root-algorithm", "mldsa65", "--mldsa", "44", "--ec-algorithm", "secp384r1"]
    site.do("init", *options, "--root-days", "100", "--sub-days", "300", "--https-days", "10", *SMALL)
    (root,) = certificates(site, "root.crt")
    (sub_ec,) = certificates(site, "subca_ec.crt")
    (mldsa,) = certificates(site, "pq.crt")
    assert root.subject.rfc4514_string() == "CN=Acme Root,O=Acme,C=DE"
    assert sub_ec.subject.rfc4514_string() == "CN=Acme EC,O=Acme,C=DE"
    assert type(root.public_key()).__name__ == "MLDSA65PublicKey"
    assert type(mldsa.public_key()).__name__ == "MLDSA44PublicKey"
    for authority in (root, sub_ec, mldsa):
        authority.verify_directly_issued_by(root)
    # An issuing CA ends with its root at the latest.
    assert sub_ec.not_valid_after_utc == root.not_valid_after_utc
    # Roots have no list of their own to be looked for in; what is below them has.
    points = sub_ec.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    ski = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    assert points[0].full_name is not None
    assert points[0].full_name[0].value == f"http://ca.example.com:8080/crl/{ski}.crl"
    assert [row[0] for row in site.rows("crl")] == ["ec", "rsa", "mldsa", "root"]


def test_public_url(site: Site) -> None:
    """INIT-1: proposed where it is missing; given, it is set in config.ini before the CAs are made."""
    text = site.path("config.ini").read_text()
    for wrong in ("ca.example.com", "http://ca.example.com/?q", "ftp://x", "http://a b"):
        assert site.refused("init", "--public-url", wrong).startswith(
            f"pikachu init: --public-url: {wrong}: expected a URL"
        )
    assert site.path("config.ini").read_text() == text
    site.do("init", "--hostname", "ca.example.com", *SMALL)
    assert "`pikachu init --public-url http://ca.example.com:8080`, or in [CA] of config.ini:" in site.out
    assert "\n  public_url = http://ca.example.com:8080\n" in site.out
    for path in site.path("var/pki").glob("*ec*"):
        path.unlink()
    made = site.do("init", "--public-url", "http://ca.example.com:8080/", *SMALL)
    assert made.startswith("set   [CA] public_url = http://ca.example.com:8080 in config.ini\n")
    assert "notice a revocation" not in made
    changed = site.path("config.ini").read_text()
    assert changed == text.replace(";public_url =\n", "public_url = http://ca.example.com:8080\n")
    (sub_ec,) = certificates(site, "subca_ec.crt")
    assert sub_ec.extensions.get_extension_for_class(x509.CRLDistributionPoints)
    # Run again with the same one, it changes nothing.
    assert "set" not in site.do("init", "--public-url", "http://ca.example.com:8080", *SMALL).split()
    other = site.refused("init", "--public-url", "http://other.example.com")
    assert "[CA] public_url of " in other
    assert "is http://ca.example.com:8080 already; change it there" in other
    assert site.path("config.ini").read_text() == changed


@pytest.mark.parametrize(
    ("names", "port", "url"),
    [
        (("192.0.2.1",), "80", "http://192.0.2.1"),
        (("2001:db8::1", "ca.example.com"), "8080", "http://[2001:db8::1]:8080"),
        (("ca.example.com",), "0", "http://ca.example.com"),
    ],
)
def test_proposed_public_urls(site: Site, names: tuple[str, ...], port: str, url: str) -> None:
    """The proposed URL has the first host name and the port of plain HTTP."""
    site.config(lambda text: text.replace("http_port = 8080", f"http_port = {port}", 1))
    site.do("init", *(part for name in names for part in ("--hostname", name)), *SMALL)
    assert site.out.endswith(f"\n  public_url = {url}\n")


def test_mldsa_beside_a_configuration_that_does_not_name_it(site: Site) -> None:
    """INIT-1: the files are made, and the lines for config.ini printed."""
    site.do("init", "--mldsa", *SMALL)
    (made,) = certificates(site, "subca_mldsa.crt")
    made.verify_directly_issued_by(certificates(site, "root.crt")[0])
    lines = [line.strip() for line in site.out.splitlines() if "_MLDSA = " in line]
    site.config(lambda text: text.replace("[CA]\n", "[CA]\n" + "\n".join(lines) + "\n"))
    assert {row[0] for row in site.rows("crl")} == {"ec", "rsa", "mldsa", "root"}


def test_encrypted_keys(site: Site) -> None:
    """INIT-3: with a passphrase file in the configuration, the key is made encrypted."""
    site.config(lambda text: text.replace(";SUBCA_KEY_PASSPHRASE_FILE_EC =", "SUBCA_KEY_PASSPHRASE_FILE_EC = words"))
    assert "words does not exist; write the passphrase" in site.refused("init")
    site.write("words", "open sesame\n")
    site.do("init", *SMALL)
    data = site.path("var/pki/subca_ec.key").read_bytes()
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in data
    load_private_key(data, "open sesame")


class Killed(BaseException):
    """An exception that ends a run in place of kill -9."""


def test_killed_at_any_step(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """INIT-1: whatever a killed run left is completed by the next; no key is ever replaced."""
    monkeypatch.chdir(site.folder)
    arguments = parser().parse_args(["init", *SMALL])
    written: dict[Path, bytes] = {}
    begun: set[Path] = set()

    def write(path: Path, content: bytes, file_mode: int) -> None:
        if path not in begun:
            begun.add(path)
            # Killed while it wrote …
            path.with_name(f".{path.name}.new").write_bytes(content[: len(content) // 2])
            raise Killed
        write_new(path, content, file_mode)
        written[path] = content
        # … or when it had written.
        raise Killed

    runs = 0
    while True:
        runs += 1
        try:
            Initialization(load(site.path("config.ini"), {}), arguments, write).run()
            break
        except Killed:
            continue
    assert runs == 2 * len(written) + 1
    assert len(written) == 13
    for path, content in written.items():
        assert path.read_bytes() == content
    assert not list(site.path("var").rglob(".*"))
    site.do("audit", "verify")
    assert len(site.rows("user", "list")) == 1
    certificates(site, "https.crt")[0].verify_directly_issued_by(certificates(site, "subca_ec.crt")[0])


@pytest.mark.slow
@pytest.mark.parametrize("last", ["root.key", "subca_ec.crt", "chain_rsa.pem", "pikachu.sqlite", "https.key"])
def test_killed_for_real(site: Site, last: str) -> None:
    """INIT-1: the same with SIGKILL, right after a file was made."""
    code = "from pikachu.cli.main import run; run()"
    command = [sys.executable, "-u", "-c", code, "init", *SMALL]
    with subprocess.Popen(command, cwd=site.folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.rstrip().endswith(last):
                process.send_signal(signal.SIGKILL)
                break
    site.do("init", *SMALL)
    site.do("audit", "verify")
    assert "admin" in site.do("user", "list")


def test_an_existing_file_is_never_replaced(tmp_path: Path) -> None:
    """INIT-1: not even when somebody makes it at the same time."""
    path = tmp_path / "key"
    path.write_bytes(b"precious")
    with pytest.raises(Exception, match="can't be written: File exists"):
        write_new(path, b"new", 0o600)
    assert path.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        (("subca_ec.key",), "SUBCA_KEY_PATH_EC: * does not exist, but its certificate * does"),
        (("https.key",), "ssl_key: * does not exist, but the certificate * does"),
        (("root.crt", "root.key"), "ROOT_CERT_PATH: * does not exist, but the issuing CA * does"),
        (("root.key", "subca_ec.key", "subca_ec.crt"), "SUBCA_CERT_PATH_EC: * and the root's key is not here"),
    ],
)
def test_what_it_can_not_make(founded: Site, missing: tuple[str, ...], told: str) -> None:
    """RUN-4: one line names the error and its remedy."""
    for name in missing:
        founded.path(f"var/pki/{name}").unlink()
    line = founded.refused("init")
    assert re.search(".*".join(map(re.escape, told.split("*"))), line), line


def test_an_offline_root(founded: Site) -> None:
    """A root whose key is elsewhere is nothing to complain about."""
    founded.path("var/pki/root.key").unlink()
    assert "made" not in founded.do("init")
    assert [row[0] for row in founded.rows("crl")] == ["ec", "rsa"]


@pytest.mark.parametrize("options", [["--hostname", "no name"], ["--country", "Germany"], ["--root-name", "x" * 65]])
def test_bad_names_make_nothing(site: Site, options: list[str]) -> None:
    site.refused("init", *options)
    assert not site.path("var/pki/root.crt").exists()


def test_a_database_of_something_else(site: Site) -> None:
    """Refused by name, and left as it was."""
    site.path("var/db").mkdir(parents=True)
    site.write("var/db/pikachu.sqlite", b"this is a text, and not a short one either" * 100)
    assert "var/db/pikachu.sqlite" in site.refused("init", *SMALL)
