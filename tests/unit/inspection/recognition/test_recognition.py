"""Recognition and decoding of uploaded objects (UI-7)."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from pikachu.core.errors import MalformedRequest, RequestError, TooLarge, UnsupportedAlgorithm
from pikachu.inspection.recognition import MAXIMUM_INPUT, Decoded, Kind, Value, decode, read
from pikachu.x509 import der
from pikachu.x509.keys import private_key_info
from pikachu.x509.pem import pem
from tests.support.objects import (
    CHALLENGE,
    OBJECTS,
    PASSPHRASE,
    authority,
    leaf,
    ocsp_request,
    ocsp_response,
    openssl,
    pfx,
)
from tests.support.pki import key_pem, make_csr, make_key, make_leaf, spki

NOW = datetime.now(UTC)


def told(data: bytes, passphrase: str | None = None) -> tuple[Kind, dict[str, Value], Decoded]:
    """Kind, facts and all of the first object."""
    found = read(data)[0]
    decoded = decode(found, NOW, passphrase)
    return found.kind, dict(decoded.facts), decoded


@pytest.mark.parametrize("name", OBJECTS)
def test_kinds(name: str) -> None:
    """Each kind is recognised, in each form that it comes in."""
    kind, make = OBJECTS[name]
    data = make()
    assert told(data)[0] == kind
    if data.startswith(b"\x30"):
        assert told(base64.b64encode(data))[0] == kind
        assert told(base64.encodebytes(data).replace(b"\n", b"\r\n"))[0] == kind
        assert told(pem("CERTIFICATE", data).encode())[0] == kind
    else:
        assert told(b"0 text before\n" + data + b"text behind\n")[0] == kind
        assert told(data.decode().encode("utf-16"))[0] == kind
        assert told(b"\xef\xbb\xbf" + data)[0] == kind


def test_certificate() -> None:
    """CRT-2: the facts."""
    _, facts, decoded = told(leaf().der)
    assert facts["subject"] == "CN=device.example.com"
    assert facts["issuer"] == "CN=Example Issuing CA"
    assert facts["serial"] == "1234567890"
    assert facts["not_after"] == leaf().certificate.not_valid_after_utc
    assert facts["validity"] == "current"
    assert facts["key"] == "EC/prime256v1"
    assert facts["certificate_authority"] is False
    assert facts["subject_alternative_names"] == ("DNS:device.example.com",)
    assert decoded.text.startswith("Certificate:\n")
    assert told(authority().der)[1]["certificate_authority"] is True
    old = make_leaf(authority(), not_before=NOW - timedelta(days=9), not_after=NOW - timedelta(days=1))
    assert told(old.der)[1]["validity"] == "expired"
    new = make_leaf(authority(), not_before=NOW + timedelta(days=1))
    assert told(new.der)[1]["validity"] == "not yet valid"


def test_requests() -> None:
    """The presence of a challenge password is shown, never its value; a bad signature is shown with the reason."""
    request = make_csr(challenge=CHALLENGE, sans=["a.example.com"])[1]
    _, facts, decoded = told(request)
    assert facts["signature"] == "verifies"
    assert facts["challenge_password"] == "present, not shown"
    assert facts["requested_extensions"] == ("X509v3 Subject Alternative Name",)
    assert CHALLENGE not in decoded.text
    assert CHALLENGE not in str(facts)
    broken = request[:-1] + bytes((request[-1] ^ 1,))
    assert str(told(broken)[1]["signature"]).startswith("not accepted: ")


def test_crl() -> None:
    """VA-1: number and entries."""
    facts = told(OBJECTS["CRL"][1]())[1]
    assert facts["number"] == 7
    assert facts["revoked_certificates"] == 1
    assert facts["issuer"] == "CN=Example Issuing CA"


def test_ocsp() -> None:
    """OCSP requests show their serial numbers, responses their status."""
    _, facts, decoded = told(ocsp_request())
    assert facts["serials"] == ("1234567890",)
    assert facts["hash_algorithm"] == "sha1"
    assert "6E:6E" in str(facts["nonce"])
    assert "Serial Number: 1234567890" in decoded.text
    _, facts, decoded = told(ocsp_response())
    assert facts["response_status"] == "successful"
    assert facts["statuses"] == ("1234567890: revoked",)
    assert facts["hash_algorithm"] == "sha256"
    assert "Revocation Reason: Key Compromise" in decoded.text
    assert "Subject: CN=Example Issuing CA" in decoded.text
    assert told(OBJECTS["OCSP error"][1]())[1] == {"response_status": "unauthorized"}


def test_messages() -> None:
    """PKCS#7 with certificates; CMS that is signed, in BER too, and enveloped."""
    facts = told(OBJECTS["PKCS#7"][1]())[1]
    assert facts["content_type"] == "signedData"
    assert facts["certificates"] == ("CN=device.example.com",)
    sign = ("cms", "-sign", "-signer", "leaf.crt", "-inkey", "leaf.key", "-outform", "DER", "-nodetach", "-binary")
    for more in ((), ("-stream",)):
        _, facts, decoded = told(openssl(*sign, *more, data=b"hello"))
        assert facts["content"] == "data: 7 octets"
        assert facts["signers"] == ("Issuer: CN=Example Issuing CA; Serial Number: 1234567890",)
        assert "signingTime: " in decoded.text
    recipient = make_leaf(authority(), "recipient.example.com", key_type="rsa2048")
    command = ("cms", "-encrypt", "-aes256", "-outform", "DER", "-recip", "/dev/stdin", "-in", "ca.crt")
    facts = told(openssl(*command, data=recipient.pem))[1]
    assert facts["content_type"] == "envelopedData"
    assert str(facts["content"]).endswith("encrypted with aes-256-cbc")
    assert "rsaEncryption" in str(facts["recipients"])


def private_numbers(key: object) -> list[str]:
    """Return the private numbers of an RSA key, which must not be shown."""
    assert isinstance(key, rsa.RSAPrivateKey)
    numbers = key.private_numbers()
    return [f"{number:x}"[-40:] for number in (numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1)]


def test_private_keys_show_their_public_half() -> None:
    """No private number is in the text, in whatever form the key came."""
    key = make_key("rsa2048")
    assert isinstance(key, rsa.RSAPrivateKey)
    traditional = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    for data, form in ((key_pem(key), "PKCS#8"), (traditional, "PKCS#1")):
        _, facts, decoded = told(data)
        assert facts["format"] == form
        assert facts["encryption"] == "none"
        assert facts["key"] == "RSA/2048"
        assert pem("PUBLIC KEY", spki(key)) in decoded.text
        digits = decoded.text.replace(":", "").replace("\n", "").replace(" ", "")
        assert not [number for number in private_numbers(key) if number in digits]
    sec1 = openssl("ecparam", "-name", "secp384r1", "-genkey")
    assert told(sec1)[1]["key"] == "EC/secp384r1"
    assert told(key_pem(make_key("mldsa44")))[1]["key"] == "PQC/mldsa44"


def test_encrypted_private_keys() -> None:
    """Without the passphrase the encryption is described; a wrong passphrase is refused."""
    key = make_key("rsa2048")
    assert isinstance(key, rsa.RSAPrivateKey)
    data = key_pem(key, PASSPHRASE.encode())
    _, facts, decoded = told(data)
    assert decoded.locked
    assert facts["passphrase"] == "needed"
    assert "aes-256-cbc, PBKDF2, hmacWithSHA256" in str(facts["encryption"])
    _, facts, decoded = told(data, PASSPHRASE)
    assert facts["key"] == "RSA/2048"
    assert not decoded.locked
    with pytest.raises(MalformedRequest, match="passphrase"):
        told(data, "wrong")
    old = openssl("rsa", "-aes128", "-traditional", "-passout", f"pass:{PASSPHRASE}", data=key_pem(key))
    assert told(old)[1]["encryption"] == "AES-128-CBC"
    assert told(old, PASSPHRASE)[1]["key"] == "RSA/2048"
    with pytest.raises(MalformedRequest, match="passphrase"):
        told(old, "wrong")


def test_what_is_not_accepted_is_shown_all_the_same() -> None:
    """A weak key is described, with the reason why it would be refused."""
    weak = openssl("genrsa", "1024")
    assert "1024 bits" in str(told(weak)[1]["accepted"])
    facts = told(openssl("rsa", "-pubout", data=weak))[1]
    assert facts["key"] == "RSA/1024"
    assert "1024 bits" in str(facts["accepted"])
    assert told(openssl("rsa", "-RSAPublicKey_out", data=weak))[1]["key"] == "RSA/1024"
    foreign = openssl("genpkey", "-algorithm", "ED448")
    assert "not accepted" in str(told(foreign)[1]["accepted"])
    assert told(openssl("pkey", "-pubout", data=foreign))[1]["key"] == "Ed448"


def test_pkcs12() -> None:
    """Names, certificates and the kind of the private key; nothing without the passphrase."""
    _, facts, decoded = told(pfx())
    assert decoded.locked
    assert facts["passphrase"] == "needed"
    assert "certificates" not in facts
    _, facts, decoded = told(pfx(), PASSPHRASE)
    assert facts["friendly_names"] == ("my device",)
    assert facts["certificates"] == ("CN=device.example.com", "CN=Example Issuing CA")
    assert facts["private_keys"] == ("EC/prime256v1",)
    assert "Subject: CN=device.example.com" in decoded.text
    with pytest.raises(MalformedRequest, match="passphrase"):
        told(pfx(), "wrong")


@pytest.mark.parametrize(
    "arguments",
    [
        ("-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"),
        ("-macalg", "sha512"),
        ("-certpbe", "NONE"),
        ("-nomac",),
        ("-legacy",),
    ],
)
def test_pkcs12_of_others(arguments: tuple[str, ...]) -> None:
    """As older and other programs write them."""
    command = ("pkcs12", "-export", "-in", "leaf.crt", "-inkey", "leaf.key", "-name", "x")
    data = openssl(*command, *arguments, "-passout", f"pass:{PASSPHRASE}")
    facts = told(data, PASSPHRASE)[1]
    assert facts["certificates"] == ("CN=device.example.com",)
    assert facts["private_keys"] == ("EC/prime256v1",)
    assert "not_opened" not in facts


def test_pkcs12_with_the_empty_passphrase() -> None:
    """It opens without being asked."""
    data = openssl("pkcs12", "-export", "-in", "leaf.crt", "-inkey", "leaf.key", "-passout", "pass:")
    assert told(data)[1]["certificates"] == ("CN=device.example.com",)


def test_costs_are_bounded() -> None:
    """A file can't make this server hash a passphrase for minutes."""
    command = ("pkcs12", "-export", "-in", "leaf.crt", "-inkey", "leaf.key", "-iter", "2000000", "-passout", "pass:x")
    with pytest.raises(UnsupportedAlgorithm, match="too much"):
        told(openssl(*command), "x")
    for scheme in ("AES-256-CBC", "PBE-SHA1-3DES"):
        facts = told(openssl(*command, "-nomac", "-certpbe", scheme), "x")[1]
        assert "too much" in str(facts["not_opened"])
        assert "too much" in str(facts["private_keys"])
    key = openssl("pkcs8", "-topk8", "-iter", "2000000", "-passout", "pass:x", data=key_pem(make_key("p256")))
    assert "too much" in str(told(key, "x")[1]["accepted"])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "nothing to inspect"),
        (b" \r\n", "nothing to inspect"),
        (b"hello, world", "neither PEM nor base64"),
        (b"aGVsbG8=", "ASN.1"),
        (b"\x30\x03\x02\x01\x05", "none of the kinds"),
        (b"\x30\x80\x02\x01\x05", "not definite"),
        (b"\x04\x01\x00", "neither PEM"),
        (b"-----BEGIN CERTIFICATE-----\nMIIB", "no END line"),
        (b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----", "not base64"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----", "OpenSSH"),
        (b"-----BEGIN EC PARAMETERS-----\nAAAA\n-----END EC PARAMETERS-----", "no PEM block that is known"),
    ],
)
def test_refusals(data: bytes, reason: str) -> None:
    """One line says what is wrong."""
    with pytest.raises(MalformedRequest, match=reason) as caught:
        read(data)
    assert "\n" not in caught.value.public


def test_bounds() -> None:
    """1 MiB, and twenty objects."""
    with pytest.raises(TooLarge):
        read(b"x" * (MAXIMUM_INPUT + 1))
    assert len(read(leaf().pem * 20)) == 20
    with pytest.raises(MalformedRequest, match="at most 20"):
        read(leaf().pem * 21)


def test_a_trusted_certificate() -> None:
    """OpenSSL's own kind, with what it is trusted for behind it."""
    data = openssl("x509", "-in", "leaf.crt", "-trustout", "-addtrust", "serverAuth")
    assert b"BEGIN TRUSTED CERTIFICATE" in data
    assert told(data)[1]["subject"] == "CN=device.example.com"


def test_many_labels() -> None:
    """A text of nothing but PEM labels costs no more than others."""
    labels = b"".join(b"-----BEGIN A%d-----\n-----END A%d-----\n" % (number, number) for number in range(20_000))
    with pytest.raises(MalformedRequest, match="at most 20"):
        read(labels)


SAMPLES = [make() for name, (_, make) in OBJECTS.items() if "key" not in name]


@settings(max_examples=300)
@given(sample=st.sampled_from(SAMPLES), data=st.data())
def test_hostile_bytes(sample: bytes, data: st.DataObject) -> None:
    """Whatever is changed: a text that can't deceive, or one of the errors of requests."""
    changed = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 5))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = [decode(one, NOW, PASSPHRASE) for one in read(bytes(changed))]
    except (MalformedRequest, UnsupportedAlgorithm, TooLarge):
        return
    for one in decoded:
        assert all(line.isprintable() for line in one.text.split("\n"))
        assert all(str(value).isprintable() for _, value in one.facts)


def _elements(element: der.Element, depth: int = 0) -> list[der.Element]:
    """Return an element and all that it contains."""
    found = [element]
    if element.tag & 0x20 and depth < 20:
        for child in element.children():
            found += _elements(child, depth + 1)
    return found


def _replaced(data: bytes, target: der.Element, replacement: bytes) -> bytes:
    """Replace one element, with the lengths of those around it computed again."""

    def encode(element: der.Element) -> bytes:
        if (element.whole_start, element.end) == (target.whole_start, target.end):
            return replacement
        if element.tag & 0x20 and element.whole_start < target.whole_start < element.end:
            return der.tlv(element.tag, b"".join(encode(child) for child in element.children()))
        return element.whole

    return encode(der.parse(data))


#: Elements that decoders may not expect: empty, huge, negative, padded, cut short, deep, of another type.
_ODD = [
    *(bytes((tag, 0)) for tag in (1, 2, 3, 4, 5, 6, 10, 12, 19, 23, 24, 48, 49, 0xA0, 0x80)),
    *(der.tlv(tag, b"\x7f" * 1785) for tag in (2, 3, 4, 6, 10, 12, 24)),
    *(der.tlv(tag, b"\xff\x80") for tag in (1, 2, 3, 6, 10, 12)),
    der.tlv(4, der.octet_string(bytes(16))),
    der.tlv(24, b"99999999999999Z"),
    der.tlv(23, b"000000000000Z"),
    der.sequence(*[der.sequence()] * 40),
]
_DER_SAMPLES = [
    *(sample for sample in SAMPLES if sample.startswith(b"\x30")),
    *(private_key_info(make_key(kind)) for kind in ("ed25519", "p256", "rsa2048", "mldsa44")),
]


@settings(max_examples=200)
@given(sample=st.sampled_from(_DER_SAMPLES), odd=st.sampled_from(_ODD), data=st.data())
def test_odd_elements(sample: bytes, odd: bytes, data: st.DataObject) -> None:
    """An element of another type or size, with right lengths around it: decoded, or an error of requests."""
    target = data.draw(st.sampled_from(_elements(der.parse(sample))))
    try:
        for one in read(_replaced(sample, target, odd)):
            decode(one, NOW, PASSPHRASE)
    except (MalformedRequest, UnsupportedAlgorithm, TooLarge):
        pass


@given(noise=st.binary(max_size=200))
def test_any_bytes(noise: bytes) -> None:
    """Noise is refused."""
    with pytest.raises(RequestError):
        [decode(one, NOW) for one in read(noise)]


def test_each_octet() -> None:
    """No single changed octet of a small object leads to another failure."""
    for name in ("OCSP request", "OCSP response", "PKCS#7", "public key", "PKCS#8"):
        sample = OBJECTS[name][1]()
        for position in range(len(sample)):
            for value in (0x00, 0x80, 0xFF):
                changed = sample[:position] + bytes((value,)) + sample[position + 1 :]
                try:
                    [decode(one, NOW) for one in read(changed)]
                except (MalformedRequest, UnsupportedAlgorithm, TooLarge):
                    continue
