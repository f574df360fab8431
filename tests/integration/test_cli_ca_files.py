"""CAs that were made elsewhere: with the openssl program (INIT-2), and wrong ones (INIT-4)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from pikachu.x509.certificate import CLIENT_AUTH
from tests.support.interop import require
from tests.support.pki import DAY, Identity, make_ca, make_csr, make_leaf, make_name
from tests.support.site import SMALL, Site, empty_site

EXTENSIONS = """
[ root ]
basicConstraints = critical, CA:TRUE, pathlen:1
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[ sub ]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    return empty_site(tmp_path, capsys)


def openssl(folder: Path, command: str, *more: str) -> None:
    subprocess.run(["openssl", *command.split(), *more], cwd=folder, check=True, capture_output=True)


@pytest.mark.interop
@pytest.mark.parametrize("form", ["sec1", "sec1-bare", "pkcs8", "encrypted", "encrypted-sec1", "der"])
def test_made_by_openssl(site: Site, form: str) -> None:
    """INIT-2: EC keys in SEC1 form (with and without EC PARAMETERS in front) and PKCS#8, RSA by genpkey, encrypted
    keys: copied to the configured paths, they work unchanged.
    """
    require("openssl")
    pki = site.path("var/pki")
    pki.mkdir(parents=True, mode=0o700)
    site.write("ext.cnf", EXTENSIONS)
    site.write("words", "open sesame\n")
    openssl(pki, "ecparam -name prime256v1 -genkey -out root.key")
    openssl(pki, "req -new -key root.key -subj /O=Example/CN=Root -out root.csr -config /dev/null")
    extensions = str(site.path("ext.cnf"))
    openssl(
        pki, "x509 -req -in root.csr -signkey root.key -days 3650 -extensions root -out root.crt -extfile", extensions
    )
    plain = pki / "ec.plain"
    openssl(pki, "ecparam -name prime256v1 -genkey -out ec.plain")
    assert b"BEGIN EC PARAMETERS" in plain.read_bytes()
    words = f"file:{site.path('words')}"
    if form == "sec1":
        plain.rename(pki / "subca_ec.key")
    elif form == "sec1-bare":
        openssl(pki, "ec -in ec.plain -out subca_ec.key")
    elif form == "pkcs8":
        openssl(pki, "pkcs8 -topk8 -nocrypt -in ec.plain -out subca_ec.key")
    elif form == "encrypted":
        openssl(pki, "pkcs8 -topk8 -in ec.plain -out subca_ec.key -passout", words)
    elif form == "encrypted-sec1":
        openssl(pki, "ec -in ec.plain -aes256 -out subca_ec.key -passout", words)
    else:
        openssl(pki, "ec -in ec.plain -outform DER -out subca_ec.key")
    if form.startswith("encrypted"):
        site.config(
            lambda text: text.replace(";SUBCA_KEY_PASSPHRASE_FILE_EC =", "SUBCA_KEY_PASSPHRASE_FILE_EC = words")
        )
    openssl(pki, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:4096 -out subca_rsa.key")
    source = {"ec": "subca_ec.key" if plain.exists() is False else "ec.plain", "rsa": "subca_rsa.key"}
    for name in ("ec", "rsa"):
        openssl(pki, f"req -new -key {source[name]} -subj /O=Example/CN={name} -out {name}.csr -config /dev/null")
        openssl(
            pki,
            f"x509 -req -in {name}.csr -CA root.crt -CAkey root.key -CAcreateserial -days 1825 -sha256 "
            f"-extensions sub -out subca_{name}.crt -extfile",
            extensions,
        )
        chain = (pki / f"subca_{name}.crt").read_bytes() + (pki / "root.crt").read_bytes()
        (pki / f"chain_{name}.pem").write_bytes(chain)
    for path in pki.glob("*.key"):
        path.chmod(0o600)

    made = [line for line in site.do("init").splitlines() if line.startswith("made")]
    assert not [line for line in made if "subca" in line or "root" in line or "chain" in line]
    assert [row[0] for row in site.rows("crl")] == ["ec", "rsa", "root"]
    site.write("device.csr", make_csr()[1])
    for name in ("ec", "rsa"):
        site.write(f"{name}.pem", site.do("sign", "device.csr", "--issuer", name) + "\n")
        openssl(
            site.folder,
            f"verify -x509_strict -CAfile var/pki/root.crt -untrusted var/pki/subca_{name}.crt {name}.pem",
        )


@pytest.mark.interop
@pytest.mark.parametrize("algorithm", ["prime256v1", "rsa3072", "ed25519"])
def test_what_init_makes_satisfies_openssl(site: Site, algorithm: str) -> None:
    """INIT-1: chains and HTTPS certificate verify with -x509_strict, CRLs included."""
    require("openssl")
    site.do("init", "--root-algorithm", algorithm, *SMALL)
    site.do("crl")
    crls = b"".join(path.read_bytes() for path in site.path("var/crl").glob("*.pem"))
    site.write("crls.pem", crls)
    openssl(
        site.folder,
        "verify -x509_strict -crl_check_all -CRLfile crls.pem -CAfile var/pki/root.crt "
        "-untrusted var/pki/chain_ec.pem -verify_hostname localhost -purpose sslserver var/pki/https.crt",
    )


def put(site: Site, root: Identity, sub: Identity, *, key: Identity | None = None, root_in_chain: bool = True) -> None:
    """Write the files of an EC issuing CA that is alone."""
    pki = site.path("var/pki")
    pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    root.write(pki, "root")
    sub.write(pki, "subca_ec")
    if key is not None:
        (pki / "subca_ec.key").write_bytes(key.key_pem)
    (pki / "chain_ec.pem").write_bytes(sub.pem + (root.pem if root_in_chain else b""))
    site.config(
        lambda text: "".join(line for line in text.splitlines(keepends=True) if not line.split(" ")[0].endswith("_RSA"))
    )


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _root(path_length: int | None = 1) -> Identity:
    return make_ca(name="Root", path_length=path_length, slot=2)


def _mismatch(site: Site) -> None:
    root = _root()
    put(site, root, make_ca(name="Sub", issuer=root, path_length=0), key=make_ca(slot=3))


def _expired(site: Site) -> None:
    root = make_ca(name="Root", path_length=1, slot=2, not_before=_now() - 9 * DAY)
    sub = make_ca(name="Sub", issuer=root, not_before=_now() - 5 * DAY, not_after=_now() - DAY)
    put(site, root, sub)


def _expired_root(site: Site) -> None:
    root = make_ca(name="Root", path_length=1, slot=2, not_before=_now() - 9 * DAY, not_after=_now() - DAY)
    put(site, root, make_ca(name="Sub", issuer=root))


def _not_yet(site: Site) -> None:
    root = _root()
    put(site, root, make_ca(name="Sub", issuer=root, not_before=_now() + timedelta(hours=2)))


def _wrong_chain(site: Site) -> None:
    root, other = _root(), make_ca(name="Root", path_length=1, slot=3)
    put(site, other, make_ca(name="Sub", issuer=root))


def _put_with(site: Site, *extensions: x509.ExtensionType) -> None:
    root = _root()
    good = make_ca(name="Sub", issuer=root)
    builder = (
        x509.CertificateBuilder()
        .subject_name(good.certificate.subject)
        .issuer_name(root.certificate.subject)
        .public_key(good.certificate.public_key())
        .serial_number(7)
        .not_valid_before(_now() - DAY)
        .not_valid_after(_now() + DAY)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    put(site, root, Identity(good.key, builder.sign(root.key, SHA256()), root))


def _no_cert_sign(site: Site) -> None:
    usage = x509.KeyUsage(True, False, False, False, False, False, True, False, False)
    _put_with(site, x509.BasicConstraints(True, 0), usage)


def _no_ca(site: Site) -> None:
    _put_with(site)


def _root_of_path_length_0(site: Site) -> None:
    root = _root(0)
    put(site, root, make_ca(name="Sub", issuer=root))


def _readable_by_others(site: Site) -> None:
    root = _root()
    put(site, root, make_ca(name="Sub", issuer=root))
    site.path("var/pki/subca_ec.key").chmod(0o644)


def _no_key(site: Site) -> None:
    root = _root()
    put(site, root, make_ca(name="Sub", issuer=root))
    site.write("var/pki/subca_ec.key", "nothing")


def _no_certificate(site: Site) -> None:
    root = _root()
    put(site, root, make_ca(name="Sub", issuer=root))
    site.write("var/pki/subca_ec.crt", "nothing")


def _other_root_key(site: Site) -> None:
    root = _root()
    put(site, root, make_ca(name="Sub", issuer=root))
    site.write("var/pki/root.key", make_ca(slot=3).key_pem)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (_mismatch, "[CA] SUBCA_KEY_PATH_EC: * is not the key of the certificate *subca_ec.crt"),
        (_expired, "[CA] SUBCA_CERT_PATH_EC: * the CA expired on "),
        (_expired_root, "[CA] CHAIN_FILE_PATH_EC: * the CA expired on "),
        (_not_yet, "[CA] SUBCA_CERT_PATH_EC: * not valid before "),
        (_wrong_chain, "[CA] CHAIN_FILE_PATH_EC: * does not verify"),
        (_no_cert_sign, "[CA] SUBCA_CERT_PATH_EC: * keyUsage lacks keyCertSign"),
        (_no_ca, "[CA] SUBCA_CERT_PATH_EC: * basicConstraints"),
        (_root_of_path_length_0, "[CA] CHAIN_FILE_PATH_EC: * has pathlen 0"),
        (_readable_by_others, "[CA] SUBCA_KEY_PATH_EC: * chmod 600 "),
        (_no_key, "[CA] SUBCA_KEY_PATH_EC: *subca_ec.key: no private key found"),
        (_no_certificate, "[CA] SUBCA_CERT_PATH_EC: *subca_ec.crt holds no certificate"),
        (_other_root_key, "[CA] ROOT_KEY_PATH: * is not the key of *root.crt"),
    ],
)
def test_wrong_files(site: Site, make: Callable[[Site], None], told: str) -> None:
    """INIT-4, INIT-3: each is refused with a line of its own; nothing of them is changed."""
    make(site)
    files = {path: path.read_bytes() for path in site.path("var/pki").iterdir()}
    line = site.refused("init")
    rest = line
    for part in told.split("*"):
        assert part.strip() in rest, line
        rest = rest.partition(part.strip())[2]
    assert {path: path.read_bytes() for path in files} == files


def test_a_readable_key_is_only_warned_of_by_setting(site: Site) -> None:
    """INIT-3: or warned of, by setting."""
    _readable_by_others(site)
    site.config(lambda text: text.replace(";key_permissions = refuse", "key_permissions = warn"))
    site.do("init")
    assert "warning: [CA] SUBCA_KEY_PATH_EC: " in site.err


def _put_limited(site: Site, **limits: Any) -> None:
    root = _root()
    put(site, root, make_ca(name="Sub", issuer=root, path_length=0, **limits))


PERMITTED_DNS = x509.DNSName("example.com")
PERMITTED_NAME = x509.DirectoryName(make_name("Sub", "Example"))


@pytest.mark.parametrize(
    ("permitted", "excluded", "hostnames", "named", "warned"),
    [
        ([PERMITTED_DNS], [], ["ca.example.com"], ["ca.example.com", "127.0.0.1", "::1"], []),
        (
            [PERMITTED_DNS],
            [],
            ["ca.example.com", "ca.example.org"],
            ["ca.example.com", "127.0.0.1", "::1"],
            ["ca.example.org"],
        ),
        ([], [x509.DNSName("localhost")], ["ca.example.org"], ["ca.example.org", "127.0.0.1", "::1"], []),
        ([x509.IPAddress(ip_network("192.0.2.0/24"))], [], ["192.0.2.7"], ["192.0.2.7", "localhost"], []),
        ([x509.IPAddress(ip_network("192.0.2.0/24"))], [], ["198.51.100.7"], ["localhost"], ["198.51.100.7"]),
        # The subject is left empty where a common name alone is none of the CA's.
        ([PERMITTED_NAME], [], ["ca.example.org"], ["ca.example.org", "localhost", "127.0.0.1", "::1"], []),
    ],
)
def test_a_constrained_issuing_ca(
    site: Site,
    permitted: list[x509.GeneralName],
    excluded: list[x509.GeneralName],
    hostnames: list[str],
    named: list[str],
    warned: list[str],
) -> None:
    """INIT-1: the HTTPS certificate has the names that the CA may certify; a warning names others of the host."""
    _put_limited(site, constraints=x509.NameConstraints(permitted or None, excluded or None))
    site.do("init", *(part for name in hostnames for part in ("--hostname", name)))
    (https, _) = x509.load_pem_x509_certificates(site.path("var/pki/https.crt").read_bytes())
    names = https.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert [str(name.value) for name in names.value] == named
    assert names.critical is (len(https.subject.rdns) == 0) is (permitted == [PERMITTED_NAME])
    lines = site.err.splitlines()
    assert len(lines) == (1 if warned else 0), lines
    for name in warned:
        assert f"does not name {name}: the name constraints of the issuing CA ec forbid it." in lines[0]
    if shutil.which("openssl"):
        openssl(
            site.folder,
            "verify -x509_strict -CAfile var/pki/root.crt -untrusted var/pki/chain_ec.pem var/pki/https.crt",
        )


@pytest.mark.parametrize(
    "limits",
    [
        {"purposes": [CLIENT_AUTH]},
        {"constraints": x509.NameConstraints([PERMITTED_DNS, x509.IPAddress(ip_network("192.0.2.0/24"))], None)},
    ],
)
def test_an_issuing_ca_that_may_not_certify_this_server(site: Site, limits: dict[str, Any]) -> None:
    """One line, and a certificate of another CA is taken instead."""
    _put_limited(site, **limits)
    line = site.refused("init", "--hostname", "ca.example.org")
    assert "[HTTPS] ssl_key: no issuing CA here may certify a server named ca.example.org: " in line
    assert not site.path("var/pki/https.key").exists()
    other = make_ca(name="Other CA")
    make_leaf(other, "ca.example.org", sans=["DNS:ca.example.org"]).write(site.path("var/pki"), "https")
    site.do("init", "--hostname", "ca.example.org")
    assert site.err == ""


@pytest.mark.parametrize(("mode", "policy"), [(0o640, "refuse"), (0o644, "warn"), (0o644, "refuse")])
def test_a_key_of_https_that_others_can_read(site: Site, mode: int, policy: str) -> None:
    """INIT-3: it has a setting of its own beside that of the CAs' keys, and words of its own."""
    root = _root()
    put(site, root, make_ca(name="Sub", issuer=root, path_length=0))
    site.write("var/pki/https.key", make_leaf(root).key_pem).chmod(mode)
    site.config(
        lambda text: text.replace("[HTTPS]\n", f"[HTTPS]\nkey_permissions = {policy}\n", 1).replace(
            ";key_permissions = warn\n", ""
        )
    )
    words = f"[HTTPS] ssl_key: {site.path('var/pki/https.key')} has mode 0644, so every account on this machine can "
    if mode == 0o644 and policy == "refuse":
        assert words in site.refused("init")
        return
    site.do("init")
    assert site.err.startswith(f"warning: {words}") if mode == 0o644 else site.err == ""


def test_a_chain_that_is_missing_is_made(site: Site) -> None:
    """INIT-1: makes only what is missing."""
    root = _root()
    sub = make_ca(name="Sub", issuer=root)
    put(site, root, sub)
    site.path("var/pki/chain_ec.pem").unlink()
    site.do("init")
    assert site.path("var/pki/chain_ec.pem").read_bytes() == sub.pem + root.pem


def test_a_chain_that_is_missing_and_can_not_be_made(site: Site) -> None:
    """RUN-4: a sub CA below another one needs the chain between."""
    root = make_ca(name="Root", slot=2)
    between = make_ca(name="Between", issuer=root, slot=3)
    put(site, root, make_ca(name="Sub", issuer=between))
    site.path("var/pki/chain_ec.pem").unlink()
    assert "has not issued" in site.refused("init")
