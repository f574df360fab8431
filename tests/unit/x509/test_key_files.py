"""Files of private keys: which key is taken, what is refused, and what a hostile file may cost."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from pikachu.core.errors import MalformedRequest, PikachuError, TooLarge, UnsupportedAlgorithm
from pikachu.x509 import der
from pikachu.x509.key_encryption import PKCS12_MAC, pkcs12_derive
from pikachu.x509.key_files import read_key_file
from pikachu.x509.keys import PrivateKey, describe_private_key, private_key_info, private_key_pem
from pikachu.x509.pem import certificates_pem, pem
from tests.support import hostile_keys
from tests.support.pki import make_ca, make_leaf
from tests.support.reference_work import BATCH, costs_at_most

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ed25519.Ed25519PrivateKey.generate()
CERTIFICATE = make_leaf(make_ca(), "device").der
DATA = der.oid("1.2.840.113549.1.7.1")
SHA1 = der.sequence(der.oid("1.3.14.3.2.26"), der.null())
SHA256_HMAC = der.sequence(der.oid("1.2.840.113549.2.9"), der.null())


def bag(oid: str, value: bytes, name: str = "") -> bytes:
    """A SafeBag, with a friendlyName if there is one."""
    text = der.tlv(der.SET, der.tlv(der.BMP_STRING, name.encode("utf-16-be")))
    attributes = der.tlv(der.SET, der.sequence(der.oid("1.2.840.113549.1.9.20"), text)) if name else b""
    return der.sequence(der.oid(f"1.2.840.113549.1.12.10.1.{oid}"), der.explicit(0, value), attributes)


def key_bag(key: PrivateKey, name: str = "") -> bytes:
    return bag("1", private_key_info(key), name)


def contents(*bags: bytes) -> bytes:
    """SafeContents that are not encrypted, in a ContentInfo."""
    return der.sequence(DATA, der.explicit(0, der.octet_string(der.sequence(*bags))))


def pfx(*infos: bytes, mac: bytes = b"") -> bytes:
    safe = der.sequence(*infos)
    return der.sequence(der.integer(3), der.sequence(DATA, der.explicit(0, der.octet_string(safe))), mac)


def encrypted(algorithm: bytes, data: bytes) -> bytes:
    """A ContentInfo with EncryptedData."""
    content = der.sequence(DATA, algorithm, der.implicit(0, data))
    body = der.sequence(der.integer(0), content)
    return der.sequence(der.oid("1.2.840.113549.1.7.6"), der.explicit(0, body))


def pbe(arc: int, iterations: int) -> bytes:
    """A scheme of PKCS#12 under SHA-1."""
    parameters = der.sequence(der.octet_string(b"saltsalt"), der.integer(iterations))
    return der.sequence(der.oid(f"1.2.840.113549.1.12.1.{arc}"), parameters)


def mac(digest: bytes = bytes(20), algorithm: bytes = SHA1, salt: bytes = b"salt", iterations: int = 1) -> bytes:
    return der.sequence(
        der.sequence(algorithm, der.octet_string(digest)), der.octet_string(salt), der.integer(iterations)
    )


def pbmac1(iterations: int, length: int | None, prf: bytes = SHA256_HMAC) -> bytes:
    size = b"" if length is None else der.integer(length)
    costs = der.sequence(der.octet_string(b"salt"), der.integer(iterations), size, prf)
    derivation = der.sequence(der.oid("1.2.840.113549.1.5.12"), costs)
    return der.sequence(der.oid("1.2.840.113549.1.5.14"), der.sequence(derivation, prf))


def spki(data: bytes, passphrase: str | None = None, alias: str = "") -> bytes:
    return describe_private_key(read_key_file(data, passphrase, alias).private_key).spki


def test_forms() -> None:
    """PEM with certificates around it, DER, base64 of either form, and UTF-16."""
    own = describe_private_key(KEY).spki
    text = private_key_pem(KEY)
    both = certificates_pem([CERTIFICATE]) + text
    assert read_key_file(both.encode()).certificates == (CERTIFICATE,)
    binary = pfx(contents(key_bag(KEY), bag("3", der.sequence())))
    for data in (
        text.encode(),
        both.encode("utf-16"),
        both.encode("utf-16-le"),
        both.replace("\n", "\r\n").encode(),
        private_key_info(KEY),
        base64.encodebytes(private_key_info(KEY)),
        text.replace("-----\n", "-----").replace("\n-----END", "-----END").encode(),
    ):
        assert spki(data) == own
    for data in (pfx(contents(key_bag(KEY))), base64.b64encode(pfx(contents(key_bag(KEY))))):
        assert spki(data) == own
    with pytest.raises(MalformedRequest):
        read_key_file(binary)


def test_several_keys() -> None:
    """One is chosen by its alias, whatever its case; the same key twice is one key."""
    data = pfx(contents(key_bag(KEY, "First")), contents(key_bag(OTHER, "second"), key_bag(KEY)))
    with pytest.raises(MalformedRequest, match="'First', 'second', one without a name"):
        read_key_file(data)
    assert spki(data, alias="first") == describe_private_key(KEY).spki
    assert spki(data, alias="SECOND") == describe_private_key(OTHER).spki
    with pytest.raises(MalformedRequest, match="alias"):
        read_key_file(data, alias="third")
    assert spki(pfx(contents(key_bag(KEY, "a"), key_bag(KEY, "b")))) == describe_private_key(KEY).spki
    with pytest.raises(MalformedRequest, match="more than 16"):
        read_key_file(pfx(contents(*[key_bag(KEY)] * 17)))


def test_bags_inside_bags() -> None:
    """SafeContents may hold SafeContents; not without end."""
    inside = bag("6", der.sequence(key_bag(KEY)))
    assert spki(pfx(contents(inside))) == describe_private_key(KEY).spki
    for _ in range(4):
        inside = bag("6", der.sequence(inside))
    with pytest.raises(MalformedRequest, match="nested"):
        read_key_file(pfx(contents(inside)))
    with pytest.raises(MalformedRequest, match="too many"):
        read_key_file(pfx(contents(bag("6", der.sequence(*[bag("5", der.null())] * 40)), *[key_bag(KEY)] * 40)))


@pytest.mark.parametrize("secret", [b"\0\0", b""], ids=["empty text", "nothing"])
@pytest.mark.parametrize("passphrase", [None, ""])
def test_both_encodings_of_the_empty_passphrase(secret: bytes, passphrase: str | None) -> None:
    """RFC 7292 ends a text by two zero bytes; some programs hash nothing at all."""
    info = contents(key_bag(KEY))
    key = pkcs12_derive("sha1", secret, b"salt", 1, PKCS12_MAC, 20)
    digest = hmac.new(key, der.sequence(info), "sha1").digest()
    assert spki(pfx(info, mac=mac(digest)), passphrase) == describe_private_key(KEY).spki
    with pytest.raises(MalformedRequest, match="passphrase"):
        read_key_file(pfx(info, mac=mac(digest)), "wrong")


def test_pbmac1() -> None:
    """RFC 9579: the passphrase in UTF-8; the file must say how long the key is."""
    info = contents(key_bag(KEY))
    key = hashlib.pbkdf2_hmac("sha256", "sécret".encode(), b"salt", 1000, 32)
    digest = hmac.new(key, der.sequence(info), "sha256").digest()
    assert spki(pfx(info, mac=mac(digest, pbmac1(1000, 32))), "sécret") == describe_private_key(KEY).spki
    for algorithm in (pbmac1(1000, None), pbmac1(1000, 0), pbmac1(1000, 2**20), pbmac1(1000, 32, der.sequence())):
        with pytest.raises(PikachuError):
            read_key_file(pfx(info, mac=mac(digest, algorithm)), "sécret")


HOSTILE: Sequence[tuple[str, bytes]] = [
    ("rounds of a MAC", pfx(contents(key_bag(KEY)), mac=mac(iterations=2**31))),
    ("rounds of PBMAC1", pfx(contents(key_bag(KEY)), mac=mac(bytes(32), pbmac1(2**31, 32)))),
    ("long MAC", pfx(contents(key_bag(KEY)), mac=mac(bytes(60_000), iterations=900_000))),
    *((f"rounds of scheme {arc}", pfx(encrypted(pbe(arc, 2**31), bytes(64)))) for arc in range(1, 7)),
    ("much under RC2", pfx(encrypted(pbe(6, 1), bytes(900_000)))),
    ("much under RC2-128", pfx(encrypted(pbe(5, 1), bytes(900_000)))),
    ("many contents", pfx(*[contents()] * 5000)),
    ("many bags", pfx(contents(*[bag("5", der.null())] * 20_000))),
    ("many keys", pfx(contents(*[key_bag(KEY)] * 60))),
    ("large key", hostile_keys.pkcs12(hostile_keys.PRIVATE_KEYS["EC, large scalar"] + bytes(40_000))),
]


@pytest.mark.parametrize("data", [data for _, data in HOSTILE], ids=[name for name, _ in HOSTILE])
@pytest.mark.parametrize("form", ["DER", "base64"])
def test_hostile_files(data: bytes, form: str) -> None:
    """Each is refused for less than a batch of signatures or two."""
    data = base64.b64encode(data) if form == "base64" else data
    for passphrase in (None, "secret"):
        with costs_at_most(2 * BATCH), pytest.raises((MalformedRequest, UnsupportedAlgorithm, TooLarge)):
            read_key_file(data, passphrase)


@pytest.mark.parametrize("name", sorted(hostile_keys.PRIVATE_KEYS))
def test_hostile_keys_in_pkcs12(name: str) -> None:
    """The checks before the library are the same for each source of a key."""
    with costs_at_most(BATCH), pytest.raises(PikachuError):
        read_key_file(hostile_keys.pkcs12(hostile_keys.PRIVATE_KEYS[name]))


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "no private key"),
        (b"hello world", "no private key"),
        (base64.b64encode(b"hello"), "no private key"),
        (b"\xfe\xed\xfe\xed\0\0\0\x02", "keytool -importkeystore"),
        (b"\xce\xce\xce\xce\0\0\0\x02", "keytool -importkeystore"),
        (b"PuTTY-User-Key-File-3: ssh-rsa", "puttygen"),
        (b"\x1e\xf1\xb5\xb0\0\0\0\0", "PVK"),
        (pem("OPENSSH PRIVATE KEY", b"x").encode(), "ssh-keygen"),
        (pem("DSA PRIVATE KEY", b"x").encode(), "DSA"),
        (pem("PUBLIC KEY", b"x").encode(), "public key"),
        (certificates_pem([CERTIFICATE]).encode("utf-16"), "a certificate"),
        (pfx(contents(bag("5", der.null()))), "no private key"),
        (der.sequence(der.integer(4), der.sequence(DATA)), "PKCS#12"),
    ],
)
def test_refusals(data: bytes, named: str) -> None:
    """The error names the file's actual format and how to convert it."""
    with pytest.raises(MalformedRequest, match=named):
        read_key_file(data)
