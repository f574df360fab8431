"""ML-DSA private keys between OpenSSL 3.5 and this program, in every form that either writes (RFC 9881 section 6)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pikachu.cli.main import main
from pikachu.core.errors import MalformedRequest, UnsupportedAlgorithm
from pikachu.core.model.people import SYSTEM
from pikachu.inventory.csrs import RequestSource
from pikachu.x509.keys import describe_private_key, load_private_key
from pikachu.x509.pem import pem
from tests.support.deferreds import result_of
from tests.support.est_live import run
from tests.support.openssl35 import openssl35
from tests.support.stack import Stack, build_core, make_files
from tests.unit.inventory.test_keys import REQUEST

pytestmark = pytest.mark.interop

NAMES = {"mldsa44": "ML-DSA-44", "mldsa65": "ML-DSA-65", "mldsa87": "ML-DSA-87"}
KINDS = pytest.mark.parametrize("kind", NAMES)
FORM = "ml-dsa.output_formats="
#: what OpenSSL can write → whether it is read: RFC 9881's forms that have the seed are
FORMS = {
    "seed-priv": True,
    "seed-only": True,
    "priv-only": False,
    "oqskeypair": False,
    "bare-seed": False,
    "bare-priv": False,
}
#: how ``openssl pkcs8 -topk8`` encrypts
ENCRYPTIONS = [
    "",
    "-v2 aes-128-cbc",
    "-v2 aes-192-cbc -v2prf hmacWithSHA1",
    "-v2 aes-256-cbc -v2prf hmacWithSHA512 -iter 100000",
    "-v2 des3",
    "-scrypt",
    "-v1 PBE-SHA1-3DES",
    "-v2 aes-256-cbc -v2prf hmacWithSHA224",
    "-v2 aes-256-cbc -scrypt -scrypt_N 1024",
]
NOT_ACCEPTED = ["-v2 aria-256-cbc", "-v2 aes-256-ofb"]


class Keys:
    """A folder in which OpenSSL makes keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._openssl = openssl35().openssl

    def openssl(self, *arguments: str) -> str:
        """Return its output."""
        return run(self._openssl, *arguments, cwd=self.folder)

    def generate(self, kind: str, form: str) -> bytes:
        """A private key in PEM."""
        self.openssl("genpkey", "-algorithm", NAMES[kind], "-provparam", FORM + form, "-out", "key.pem")
        return (self.folder / "key.pem").read_bytes()

    def encrypt(self, options: str) -> bytes:
        """The last key, encrypted."""
        self.openssl("pkcs8", "-topk8", "-in", "key.pem", *options.split(), "-passout", "pass:secret", "-out", "enc")
        return (self.folder / "enc").read_bytes()

    def public(self, name: str = "key.pem", *options: str) -> str:
        """The public key of a file."""
        return self.openssl("pkey", "-in", name, *options, "-pubout")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.mark.parametrize("form", FORMS)
@KINDS
def test_forms(keys: Keys, kind: str, form: str) -> None:
    """The seed, alone or with the expanded key, is read; a file without the seed is refused with the reason."""
    private = keys.generate(kind, form)
    if FORMS[form]:
        described = describe_private_key(load_private_key(private))
        assert described.text == f"PQC/{kind}"
        assert pem("PUBLIC KEY", described.spki) == keys.public()
        return
    with pytest.raises(MalformedRequest) as failed:
        load_private_key(private)
    assert "seed" in failed.value.public


@pytest.mark.parametrize("options", ENCRYPTIONS)
@pytest.mark.parametrize("form", ["seed-priv", "seed-only"])
def test_encrypted(keys: Keys, form: str, options: str) -> None:
    """The right passphrase opens the key; a wrong one is refused."""
    keys.generate("mldsa65", form)
    private = keys.encrypt(options)
    assert pem("PUBLIC KEY", describe_private_key(load_private_key(private, "secret")).spki) == keys.public()
    for wrong in ("wrong", "", None):
        with pytest.raises(MalformedRequest, match="passphrase"):
            load_private_key(private, wrong)


@pytest.mark.parametrize("options", NOT_ACCEPTED)
def test_encrypted_in_another_way(keys: Keys, options: str) -> None:
    """The right passphrase is never called wrong."""
    keys.generate("mldsa44", "seed-only")
    with pytest.raises(UnsupportedAlgorithm):
        load_private_key(keys.encrypt(options), "secret")


@pytest.mark.parametrize("form", FORMS)
def test_key_of_an_issuing_ca(keys: Keys, capsys: pytest.CaptureFixture[str], form: str) -> None:
    """``[CA] SUBCA_KEY_PATH_MLDSA`` takes a key with its seed, open or encrypted, and refuses another in one line."""
    files = make_files(keys.folder / "server", ["mldsa65"], root_key_type="mldsa65")
    path = files.folder / "mldsa.key"
    (keys.folder / "seed.pem").write_bytes(path.read_bytes())
    keys.openssl("pkey", "-in", "seed.pem", "-provparam", FORM + form, "-out", "key.pem")
    path.write_bytes((keys.folder / "key.pem").read_bytes())
    assert (main(["ca", "list", "--config", str(files.config)]) == 0) is FORMS[form]
    said = capsys.readouterr()
    if FORMS[form]:
        return
    (line,) = said.err.splitlines()
    assert "SUBCA_KEY_PATH_MLDSA" in line
    assert "seed" in line


# --- the other way -----------------------------------------------------------------------


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = build_core(tmp_path / "core")
    yield made
    made.close()


@KINDS
def test_openssl_reads_what_is_made(keys: Keys, stack: Stack, kind: str) -> None:
    """Private keys, open and encrypted, and requests."""
    app = stack.app
    key = result_of(app.keys.generate(SYSTEM, "key", kind))
    for passphrase in (None, "correct horse"):
        (keys.folder / "private.pem").write_text(result_of(app.keys.private_pem(SYSTEM, key.id, passphrase)))
        read = keys.public("private.pem", "-passin", f"pass:{passphrase or ''}")
        assert read == pem("PUBLIC KEY", key.spki)
    csr = result_of(app.requests.generate(SYSTEM, "", RequestSource(key.id, text=REQUEST)))
    (keys.folder / "request.pem").write_text(pem("CERTIFICATE REQUEST", csr.der))
    text = keys.openssl("req", "-in", "request.pem", "-verify", "-noout", "-text")
    assert "verify OK" in text
    assert f"Signature Algorithm: {NAMES[kind]}" in text
