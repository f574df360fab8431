"""Private keys and PKCS#12 files in each form that OpenSSL, NSS and keytool write: inspected, and read for import."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pikachu.core.errors import MalformedRequest, PikachuError, RequestError
from pikachu.inspection.recognition import decode, read
from pikachu.x509.key_files import read_key_file
from pikachu.x509.keys import describe_private_key
from pikachu.x509.pem import pem
from tests.support.interop import require
from tests.support.openssl35 import openssl35

pytestmark = pytest.mark.interop

PASSPHRASE = "sécret"
#: In ASCII: keytool decodes its arguments by the locale.
STOREPASS = "changeit"
NOW = datetime(2026, 1, 1, tzinfo=UTC)

#: Options of ``openssl pkcs12 -export``, of the release and of OpenSSL 3.5.
PKCS12 = (
    "",
    "-legacy",
    "-legacy -certpbe PBE-SHA1-RC2-128 -keypbe PBE-SHA1-RC2-128",
    "-legacy -certpbe PBE-SHA1-RC4-128 -keypbe PBE-SHA1-RC4-40",
    "-legacy -certpbe PBE-SHA1-2DES -keypbe PBE-SHA1-2DES",
    "-certpbe PBE-SHA1-3DES -keypbe PBE-SHA1-3DES -macalg SHA1",
    "-certpbe AES-128-CBC -keypbe AES-192-CBC -iter 10000",
    "-certpbe camellia-256-cbc -keypbe DES-EDE3-CBC -macalg sha512",
    "-certpbe NONE -keypbe NONE",
    "-certpbe NONE -keypbe NONE -nomac",
    "-nomac",
    "-nomaciter -noiter",
    "-macalg md5",
    "-macalg sha512-256",
)
PBMAC1 = ("-pbmac1_pbkdf2", "-pbmac1_pbkdf2 -pbmac1_pbkdf2_md sha512 -macalg sha384 -iter 5000")
_PBE = "PKCS #12 V2 PBE With SHA-1 And"
#: Options of ``pk12util -o``.
NSS = {
    "default": (),
    "RC2-40": ("-c", f"{_PBE} 40 Bit RC2 CBC", "-C", f"{_PBE} 40 Bit RC2 CBC", "-M", "SHA-1"),
    "RC2-128 and RC4": ("-c", f"{_PBE} 128 Bit RC4", "-C", f"{_PBE} 128 Bit RC2 CBC"),
    "3DES": ("-c", f"{_PBE} 3KEY Triple DES-CBC", "-C", f"{_PBE} 3KEY Triple DES-CBC"),
    "AES-256": ("-c", "AES-256-CBC", "-C", "CAMELLIA-256-CBC", "-M", "SHA-512"),
    "certificates in the clear": ("-C", "NONE"),
}
#: Options of ``openssl pkcs8 -topk8``.
PKCS8 = (
    "-nocrypt",
    "-v2 aes-128-cbc",
    "-v2 aes-256-cbc -v2prf hmacWithSHA512 -iter 100000",
    "-v2 aes-256-cbc -v2prf hmacWithSHA512-256",
    "-v2 aes-192-cbc -v2prf hmacWithMD5",
    "-v2 des3",
    "-v2 camellia-128-cbc",
    "-scrypt",
    "-v1 PBE-SHA1-3DES",
    "-v1 PBE-SHA1-2DES",
    "-v2 rc2-40-cbc -provider legacy -provider default",
    "-v2 rc2-64-cbc -provider legacy -provider default",
    "-v2 rc2-cbc -provider legacy -provider default",
    "-v2 seed-cbc -provider legacy -provider default",
    "-v2 des-cbc -provider legacy -provider default",
    *(
        f"-v1 {scheme} -provider legacy -provider default"
        for scheme in (
            "PBE-MD5-DES",
            "PBE-SHA1-DES",
            "PBE-MD5-RC2-64",
            "PBE-SHA1-RC2-64",
            "PBE-SHA1-RC2-128",
            "PBE-SHA1-RC2-40",
            "PBE-SHA1-RC4-128",
            "PBE-SHA1-RC4-40",
        )
    ),
)
#: Ciphers of ``openssl rsa -traditional`` and ``openssl ec``.
TRADITIONAL = ("aes128", "aes192", "aes256", "des3", "camellia128", "camellia256", "des", "seed")
#: Options of ``openssl genpkey`` → the key type, or words of the refusal.
GENERATED = {
    "-algorithm RSA -pkeyopt rsa_keygen_bits:2048": "RSA/2048",
    "-algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048": "RSA/2048",
    "-algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_pss_keygen_md:sha256": "RSA/2048",
    "-algorithm EC -pkeyopt ec_paramgen_curve:P-256": "EC/prime256v1",
    "-algorithm EC -pkeyopt ec_paramgen_curve:secp384r1 -outform DER": "EC/secp384r1",
    "-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1": "EC/secp256k1",
    "-algorithm ED25519": "Ed25519",
    "-algorithm RSA -pkeyopt rsa_keygen_bits:1024": "at least 2048",
    "-algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_primes:3": "more than two primes",
    "-algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit": "named curve",
    "-algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP256r1": "this elliptic curve",
    "-algorithm ED448": "not accepted",
    "-algorithm X25519": "not accepted",
}


class Folder:
    """A folder with an RSA key, an EC key and a certificate of each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name, kind in (("rsa", "rsa:2048"), ("ec", "ec -pkeyopt ec_paramgen_curve:P-256")):
            self.openssl(f"req -x509 -nodes -newkey {kind} -keyout {name}.key -out {name}.crt -days 9 -subj /CN={name}")

    def run(self, *command: str) -> bytes:
        done = subprocess.run(command, cwd=self.path, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def openssl(self, command: str, *more: str, program: str = "openssl") -> bytes:
        return self.run(program, *command.split(), *more)

    def data(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def public(self, name: str) -> str:
        """The public key of a key file in PEM."""
        return self.openssl(f"pkey -in {name} -pubout").decode()

    def pkcs12(self, options: str, passphrase: str = PASSPHRASE, program: str = "openssl") -> bytes:
        """The RSA key with its certificate."""
        command = f"pkcs12 -export -inkey rsa.key -in rsa.crt -name device -out out.p12 {options}"
        self.openssl(command, "-passout", f"pass:{passphrase}", program=program)
        return self.data("out.p12")

    def nss(self, options: tuple[str, ...], passphrase: str) -> bytes:
        """The same, exported from a database of NSS."""
        if not (self.path / "nss").exists():
            (self.path / "nss").mkdir()
            self.pkcs12("", "secret")
            self.run("certutil", "-N", "-d", "sql:nss", "--empty-password")
            self.run("pk12util", "-i", "out.p12", "-d", "sql:nss", "-W", "secret")
        self.run("pk12util", "-o", "nss.p12", "-n", "device", "-d", "sql:nss", "-W", passphrase, *options)
        return self.data("nss.p12")

    def keytool(self, command: str, store: str, *before: str) -> None:
        """Change a keystore in PKCS#12."""
        self.run("keytool", *before, *command.split(), "-noprompt", "-keystore", store, "-storepass", STOREPASS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    require("openssl")
    return Folder(tmp_path_factory.mktemp("key-files"))


def is_read(folder: Folder, data: bytes, passphrase: str | None, key: str = "rsa", certificates: int = 1) -> None:
    """Read for import, and inspected: the key and its certificate, whole."""
    file = read_key_file(data, passphrase)
    assert pem("PUBLIC KEY", describe_private_key(file.private_key).spki) == folder.public(f"{key}.key")
    assert len(file.certificates) == certificates
    (recognised,) = read(data)
    facts = dict(decode(recognised, NOW, passphrase).facts)
    assert "not_opened" not in facts
    if recognised.kind == "pkcs12":
        assert facts["private_keys"] == (describe_private_key(file.private_key).text,)
        assert facts["certificates"] == (f"CN={key}",) * certificates
    else:
        assert facts["key"] == describe_private_key(file.private_key).text


def is_refused(data: bytes, *wrong: str | None) -> None:
    """A wrong passphrase is named; a file that is cut short is an error of the file."""
    for passphrase in wrong:
        with pytest.raises(MalformedRequest, match="passphrase"):
            read_key_file(data, passphrase)
    for size in (1, len(data) // 2, len(data.rstrip()) - 1):
        with pytest.raises(PikachuError):
            read_key_file(data[:size], PASSPHRASE)


@pytest.mark.parametrize("options", PKCS12)
def test_pkcs12(folder: Folder, options: str) -> None:
    data = folder.pkcs12(options)
    is_read(folder, data, PASSPHRASE)
    is_refused(data, *(() if options == "-certpbe NONE -keypbe NONE -nomac" else ("wrong", None)))


@pytest.mark.parametrize("options", [*PKCS12[:8], *PBMAC1])
def test_pkcs12_of_openssl_35(folder: Folder, options: str) -> None:
    data = folder.pkcs12(options, program=openssl35().openssl)
    is_read(folder, data, PASSPHRASE)
    is_refused(data, "wrong", None)


@pytest.mark.parametrize("form", ["seed-priv", "seed-only", "priv-only"])
def test_ml_dsa_in_pkcs12(folder: Folder, form: str) -> None:
    """A key with its seed is inspected and imported; without a seed the error says so."""
    program = openssl35().openssl
    provider = f"-provparam ml-dsa.output_formats={form}"
    folder.openssl(f"genpkey -algorithm ML-DSA-65 {provider} -out mldsa.key", program=program)
    folder.openssl("req -x509 -new -key mldsa.key -out mldsa.crt -days 9 -subj /CN=mldsa", program=program)
    command = f"pkcs12 -export -inkey mldsa.key -in mldsa.crt -out mldsa.p12 {provider}"
    folder.openssl(command, "-passout", f"pass:{PASSPHRASE}", program=program)
    data = folder.data("mldsa.p12")
    if form == "priv-only":
        with pytest.raises(MalformedRequest, match="seed"):
            read_key_file(data, PASSPHRASE)
    else:
        file = read_key_file(data, PASSPHRASE)
        assert describe_private_key(file.private_key).text == "PQC/mldsa65"
    facts = dict(decode(read(data)[0], NOW, PASSPHRASE).facts)
    assert facts["certificates"] == ("CN=mldsa",)
    keys = facts["private_keys"]
    assert isinstance(keys, tuple)
    (key,) = keys
    assert key.startswith("not accepted: this ML-DSA private key") if form == "priv-only" else key == "PQC/mldsa65"


@pytest.mark.parametrize("options", ["", "-legacy", "-nomac", "-macalg sha512", "-keypbe PBE-SHA1-3DES"])
def test_empty_passphrase(folder: Folder, options: str) -> None:
    """Without asking for one, as openssl does."""
    data = folder.pkcs12(options, "")
    is_read(folder, data, None)
    is_refused(data)


def test_certificates_only(folder: Folder) -> None:
    """A truststore is inspected, and has no key to import."""
    folder.openssl("pkcs12 -export -nokeys -in rsa.crt -out trust.p12", "-passout", f"pass:{PASSPHRASE}")
    data = folder.data("trust.p12")
    assert dict(decode(read(data)[0], NOW, PASSPHRASE).facts)["certificates"] == ("CN=rsa",)
    with pytest.raises(MalformedRequest, match="no private key"):
        read_key_file(data, PASSPHRASE)


@pytest.mark.parametrize("form", NSS)
def test_nss(folder: Folder, form: str) -> None:
    """BER with indefinite lengths at every level, and 600,000 iterations."""
    require("pk12util", "certutil")
    data = folder.nss(NSS[form], PASSPHRASE)
    assert data[:2] == b"\x30\x80"
    is_read(folder, data, PASSPHRASE)
    is_refused(data, *(("wrong",) if form == "default" else ()))


def test_nss_with_the_empty_passphrase(folder: Folder) -> None:
    require("pk12util", "certutil")
    is_read(folder, folder.nss((), ""), None)


@pytest.mark.parametrize("legacy", [(), ("-J-Dkeystore.pkcs12.legacy",)], ids=["modern", "legacy"])
def test_keytool(folder: Folder, legacy: tuple[str, ...]) -> None:
    """Several keys, a secret key and a trusted certificate: one key is chosen by its alias."""
    require("keytool")
    store = f"store{len(legacy)}.p12"
    generate = "-genkeypair -storetype pkcs12 -validity 9"
    folder.keytool(f"{generate} -keyalg RSA -keysize 2048 -alias First -dname CN=first", store, *legacy)
    one = read_key_file(folder.data(store), STOREPASS)
    assert describe_private_key(one.private_key).text == "RSA/2048"
    folder.keytool(f"{generate} -keyalg EC -groupname secp256r1 -alias second -dname CN=second", store, *legacy)
    folder.keytool("-genseckey -keyalg AES -keysize 256 -alias secret", store, *legacy)
    folder.keytool("-importcert -file ec.crt -alias trusted", store, *legacy)
    data = folder.data(store)
    with pytest.raises(MalformedRequest, match="'first', 'second'"):
        read_key_file(data, STOREPASS)
    for alias, kind in (("First", "RSA/2048"), ("second", "EC/prime256v1")):
        assert describe_private_key(read_key_file(data, STOREPASS, alias).private_key).text == kind
    with pytest.raises(MalformedRequest, match="alias"):
        read_key_file(data, STOREPASS, "third")
    facts = dict(decode(read(data)[0], NOW, STOREPASS).facts)
    assert facts["private_keys"] == ("RSA/2048", "EC/prime256v1")
    assert set(facts["certificates"]) == {"CN=first", "CN=second", "CN=ec"}  # type: ignore[arg-type]
    is_refused(data, "wrong", None)


def test_old_java_keystore(folder: Folder) -> None:
    """It is named, with the command that converts it."""
    require("keytool")
    folder.keytool("-genkeypair -keyalg EC -alias x -dname CN=x -storetype jks -keypass " + STOREPASS, "old.jks")
    for reader in (read, read_key_file):
        with pytest.raises(MalformedRequest, match="keytool -importkeystore"):
            reader(folder.data("old.jks"))


@pytest.mark.parametrize(("key", "form"), [("rsa", "PEM"), ("ec", "DER")])
@pytest.mark.parametrize("options", PKCS8)
def test_pkcs8(folder: Folder, key: str, options: str, form: str) -> None:
    command = f"pkcs8 -topk8 -in {key}.key -outform {form} {options}"
    data = folder.openssl(command, *(() if options == "-nocrypt" else ("-passout", f"pass:{PASSPHRASE}")))
    is_read(folder, data, PASSPHRASE, key, 0)
    is_refused(data, *(() if options == "-nocrypt" else ("wrong", "", None)))


@pytest.mark.parametrize("cipher", ["", *TRADITIONAL])
@pytest.mark.parametrize("key", ["rsa", "ec"])
def test_traditional(folder: Folder, key: str, cipher: str) -> None:
    """``RSA PRIVATE KEY`` and ``EC PRIVATE KEY``, with DEK-Info when encrypted."""
    command = f"{key} -in {key}.key {'-traditional' if key == 'rsa' else ''} -provider legacy -provider default"
    options = (f"-{cipher}", "-passout", f"pass:{PASSPHRASE}") if cipher else ()
    data = folder.openssl(command, *options)
    assert (b"DEK-Info" in data) is bool(cipher)
    is_read(folder, data, PASSPHRASE, key, 0)
    is_read(folder, data.replace(b"\n", b"\r\n"), PASSPHRASE, key, 0)
    is_read(folder, data.decode().encode("utf-16"), PASSPHRASE, key, 0)
    is_refused(data, *(("wrong", "", None) if cipher else ()))


@pytest.mark.parametrize(
    "options",
    [
        "-param_enc named_curve",
        "-no_public",
        *(f"-conv_form {form}" for form in ("compressed", "uncompressed", "hybrid")),
    ],
)
def test_ec_forms(folder: Folder, options: str) -> None:
    is_read(folder, folder.openssl(f"ec -in ec.key {options}"), None, "ec", 0)
    is_read(folder, folder.openssl(f"ec -in ec.key {options} -outform DER"), None, "ec", 0)


@pytest.mark.parametrize("options", GENERATED)
def test_generated(folder: Folder, options: str) -> None:
    data = folder.openssl(f"genpkey {options}")
    if "/" in GENERATED[options] or GENERATED[options] == "Ed25519":
        assert describe_private_key(read_key_file(data).private_key).text == GENERATED[options]
        return
    with pytest.raises(RequestError, match=GENERATED[options]):
        read_key_file(data)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda folder: folder.openssl("rsa -in rsa.key -pubout"), "public key"),
        (lambda folder: folder.data("rsa.crt"), "certificate"),
        (lambda folder: folder.openssl("rsa -in rsa.key -outform MSBLOB"), "-inform MSBLOB"),
        (lambda folder: folder.openssl("rsa -in rsa.key -outform PVK -pvk-none"), "-inform PVK"),
        (
            lambda folder: folder.openssl("genpkey -genparam -algorithm EC -pkeyopt ec_paramgen_curve:P-256"),
            "no private key",
        ),
    ],
    ids=["public", "certificate", "MSBLOB", "PVK", "parameters"],
)
def test_other_files(folder: Folder, make: Callable[[Folder], bytes], named: str) -> None:
    """The error names the content of a file that holds no readable private key."""
    with pytest.raises(MalformedRequest, match=named):
        read_key_file(make(folder))
