"""OPS-7: what the real `openssl ca` and easy-rsa have issued and revoked is imported with its status and CRL number."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pikachu.cli.session import done, opened, operator
from pikachu.config.loading import load
from pikachu.core.model.certificates import CertificateRecord, Method, RevocationReason
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.policies import Policy
from tests.support.interop import missing, require
from tests.support.pki import make_ca
from tests.support.site import Site, founded_site

pytestmark = pytest.mark.interop

EASYRSA = Path("/usr/share/easy-rsa/easyrsa")
CONFIG = """\
[ca]
default_ca = one
[one]
dir = .
database = $dir/index.txt
new_certs_dir = $dir/newcerts
serial = $dir/serial
crlnumber = $dir/crlnumber
certificate = $dir/cacert.pem
private_key = $dir/private/cakey.pem
default_md = sha256
default_days = 30
default_crl_days = 7
policy = any
x509_extensions = issued
copy_extensions = copy
[any]
commonName = supplied
[issued]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
[req]
distinguished_name = name
[name]
"""
REASONS = {
    "keyCompromise": RevocationReason.KEY_COMPROMISE,
    "superseded": RevocationReason.SUPERSEDED,
    "certificateHold": RevocationReason.CERTIFICATE_HOLD,
    "": RevocationReason.UNSPECIFIED,
}


@dataclass
class OpenSSLCA:
    """A folder in which ``openssl ca`` works, with the EC CA of a site."""

    folder: Path

    def openssl(self, *arguments: str) -> None:
        """Run openssl in it."""
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def ca(self, *arguments: str) -> None:
        """Run ``openssl ca``."""
        self.openssl("ca", "-config", "ca.cnf", "-batch", *arguments)

    def issue(self, name: str, *dates: str) -> x509.Certificate:
        """Issue a certificate, kept below its name too."""
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"private/{name}.key")
        self.openssl("req", "-new", "-config", "ca.cnf", *key, "-subj", f"/CN={name}", "-out", f"{name}.csr")
        self.ca("-in", f"{name}.csr", "-out", f"{name}.crt", *dates)
        return x509.load_pem_x509_certificate((self.folder / f"{name}.crt").read_bytes())

    def revoke(self, name: str, reason: str) -> None:
        """Revoke a certificate."""
        self.ca("-revoke", f"{name}.crt", *(("-crl_reason", reason) if reason else ()))


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path / "site"
    folder.mkdir()
    return founded_site(folder, capsys, tmp_path_factory)


@pytest.fixture
def ca(site: Site, tmp_path: Path) -> OpenSSLCA:
    require("openssl")
    folder = tmp_path / "openssl"
    (folder / "newcerts").mkdir(parents=True)
    (folder / "private").mkdir()
    (folder / "ca.cnf").write_text(CONFIG)
    (folder / "index.txt").touch()
    (folder / "serial").write_text("4A11\n")
    (folder / "crlnumber").write_text("1F\n")
    shutil.copy(site.path("var/pki/subca_ec.crt"), folder / "cacert.pem")
    shutil.copy(site.path("var/pki/subca_ec.key"), folder / "private/cakey.pem")
    return OpenSSLCA(folder)


def inventory(site: Site) -> dict[int, CertificateRecord]:
    """The imported certificates by serial number."""
    with opened(load(site.path("config.ini"), {})) as app:
        query = ListQuery(limit=100, filters={"method": Method.IMPORT.value})
        page = done(app.inventory.certificates(operator(), query))
        return {one.serial: done(app.store.certificate_by_serial(one.serial)) for one in page.items}


def policies(site: Site) -> dict[str, Policy]:
    """The stored policies by name."""
    with opened(load(site.path("config.ini"), {})) as app:
        return {one.name: one for one in done(app.policy_administration.list(operator(), ListQuery(limit=100))).items}


def published(site: Site) -> x509.CertificateRevocationList:
    """The EC CA's CRL, made anew."""
    path = next(row[2] for row in site.rows("crl", "--issuer", "ec"))
    return x509.load_der_x509_crl(site.path(path).read_bytes())


def test_openssl_ca(site: Site, ca: OpenSSLCA) -> None:
    """Valid, revoked and expired ones; a dry run writes nothing, and a second import finds all of them."""
    valid = ca.issue("valid.example.com")
    expired = ca.issue("expired.example.com", "-startdate", "20200101000000Z", "-enddate", "20210101000000Z")
    revoked = {reason: ca.issue(f"revoked-{number}") for number, reason in enumerate(REASONS)}
    for number, reason in enumerate(REASONS):
        ca.revoke(f"revoked-{number}", reason)
    lost = ca.issue("lost.example.com")
    ca.revoke("lost.example.com", "superseded")
    (ca.folder / "lost.example.com.crt").unlink()
    (ca.folder / f"newcerts/{lost.serial_number:X}.pem").unlink()
    ca.ca("-updatedb")
    ca.ca("-gencrl", "-out", "ca.crl")
    told = site.do("import", str(ca.folder), "--dry-run")
    assert "6 certificates would be imported, 4 of them revoked; 0 known before" in told
    assert inventory(site) == {}
    told = site.do("import", str(ca.folder))
    assert "6 certificates imported, 4 of them revoked; 0 known before" in told
    assert "1 revocations of certificates that are not in the folder imported" in told
    assert "the next CRL of ec has a number above 31" in told
    found = inventory(site)
    assert {one.der for one in found.values()} == {
        one.public_bytes(Encoding.DER) for one in (valid, expired, *revoked.values())
    }
    assert found[valid.serial_number].revoked_at is None
    crl = published(site)
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number > 31
    for reason, certificate in revoked.items():
        assert found[certificate.serial_number].reason is REASONS[reason]
        assert crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None
    assert crl.get_revoked_certificate_by_serial_number(lost.serial_number) is not None
    assert crl.get_revoked_certificate_by_serial_number(valid.serial_number) is None
    told = site.do("import", str(ca.folder))
    assert "0 certificates imported, 0 of them revoked; 6 known before" in told
    assert "revocations" not in told
    assert "none changed" in site.do("audit", "verify")
    # What is revoked there afterwards follows.
    ca.revoke("valid.example.com", "keyCompromise")
    assert "1 known certificates revoked" in site.do("import", str(ca.folder))
    assert inventory(site)[valid.serial_number].reason is RevocationReason.KEY_COMPROMISE


def test_the_policy_of_openssl_ca(site: Site, ca: OpenSSLCA) -> None:
    """OPS-7: certificates of the imported policy have the extensions and the validity that openssl ca gives."""
    theirs = ca.issue("device.example.com")
    site.do("import", str(ca.folder))
    policy = policies(site)["one"]
    assert (policy.days, policy.issuer, policy.limits.honour_names) == (30, "ec", True)
    shutil.copy(ca.folder / "device.example.com.csr", site.path("device.csr"))
    ours = x509.load_pem_x509_certificate(site.do("sign", "device.csr", "--policy", "one").encode())
    for kind in (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage):
        assert ours.extensions.get_extension_for_class(kind) == theirs.extensions.get_extension_for_class(kind)
    assert (ours.subject, ours.issuer) == (theirs.subject, theirs.issuer)
    assert abs((ours.not_valid_after_utc - theirs.not_valid_after_utc).total_seconds()) < 3600


def test_easyrsa(site: Site, tmp_path: Path) -> None:
    """Its layout: issued/, certs_by_serial/, revoked/."""
    if not EASYRSA.exists():
        missing("easy-rsa is not installed")
    folder = tmp_path / "vpn"
    folder.mkdir()
    environment = {**os.environ, "EASYRSA_BATCH": "1", "EASYRSA_PKI": str(folder / "pki"), "EASYRSA_ALGO": "ec"}

    def easyrsa(*arguments: str) -> None:
        ended = subprocess.run(
            [EASYRSA, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr

    easyrsa("init-pki")
    easyrsa("build-ca", "nopass")
    pki = folder / "pki"
    shutil.copy(site.path("var/pki/subca_ec.crt"), pki / "ca.crt")
    shutil.copy(site.path("var/pki/subca_ec.key"), pki / "private/ca.key")
    easyrsa("build-client-full", "alice", "nopass")
    easyrsa("build-server-full", "vpn.example.com", "nopass")
    easyrsa("revoke", "alice", "keyCompromise")
    easyrsa("gen-crl")
    # As make-cadir of Debian does, but with files instead of links.
    shutil.copytree(EASYRSA.parent / "x509-types", folder / "x509-types")
    (folder / "vars").write_text("set_var EASYRSA_CERT_EXPIRE 90\n")
    assert "2 certificates imported, 1 of them revoked; 0 known before" in site.do("import", str(folder))
    added = policies(site)
    assert {"client", "server", "serverClient"} <= added.keys()
    assert "ca" not in added
    assert (added["server"].days, added["server"].issuer) == (90, "ec")
    found = {one.common_name: one for one in inventory(site).values()}
    assert found["alice"].reason is RevocationReason.KEY_COMPROMISE
    assert found["vpn.example.com"].revoked_at is None
    assert published(site).get_revoked_certificate_by_serial_number(found["alice"].serial) is not None


def test_refused(site: Site, ca: OpenSSLCA) -> None:
    """Another CA's certificates and conflicts of serial numbers are listed; a broken index ends it all."""
    ca.issue("device.example.com")
    site.do("import", str(ca.folder))
    shutil.rmtree(ca.folder / "newcerts")
    (ca.folder / "newcerts").mkdir()
    (ca.folder / "index.txt").write_text("")
    (ca.folder / "serial").write_text("4A11\n")
    ca.issue("other.example.com")
    (ca.folder / "device.example.com.crt").unlink()
    (ca.folder / "foreign.pem").write_bytes(make_ca(name="Another CA").pem)
    (ca.folder / "link.pem").symlink_to("/etc/passwd")
    os.mkfifo(ca.folder / "pipe.pem")
    # The second one has no certificates.
    (ca.folder / "large.pem").write_bytes((ca.folder / "foreign.pem").read_bytes() * 2000)
    (ca.folder / "large.txt").write_bytes(b"-----BEGIN NOTES-----\n" + bytes(2 << 20))
    assert site.run("import", str(ca.folder)) == 1
    rows = [line.split("\t") for line in site.out.splitlines() if "\t" in line]
    assert {(row[0], row[1]) for row in rows} >= {
        ("skipped", "link.pem"),
        ("skipped", "pipe.pem"),
        ("skipped", "large.pem"),
        ("foreign", "foreign.pem"),
    }
    assert "large.txt" not in site.out
    assert [row[2] for row in rows if row[0] == "conflict"] == ["4a11 CN=other.example.com"]
    (ca.folder / "index.txt").write_text("R\t991231235959Z\t\t01\n")
    assert "index.txt, line 1" in site.refused("import", str(ca.folder))
    assert "not a folder" in site.refused("import", "nowhere")
