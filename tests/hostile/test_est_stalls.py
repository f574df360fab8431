"""EST: any account may send any certification request, and anybody may begin a TLS handshake."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256

from tests.hostile import inputs
from tests.hostile.target import Target, sampled
from tests.support.scep_client import algorithm, members, oid, printable, rsa_key, spki, split, tlv

SIZE = 44_000
CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"
EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
SUBJECT_ALT_NAME = "2.5.29.17"


def request(subject: bytes | None = None, *attributes: bytes, key: bytes | None = None) -> bytes:
    """A certification request of any subject and attributes, rightly signed."""
    private = rsa_key(1)
    info = tlv(
        0x30,
        b"\x02\x01\x00",
        inputs.long_name("device", 100, kind=inputs.COMMON_NAME) if subject is None else subject,
        spki(private) if key is None else key,
        tlv(0xA0, *attributes),
    )
    signature = private.sign(info, padding.PKCS1v15(), SHA256())
    return tlv(0x30, info, algorithm("1.2.840.113549.1.1.11"), tlv(0x03, b"\0", signature))


def extension_request(*extensions: bytes) -> bytes:
    """The attribute that asks for extensions."""
    return tlv(0x30, oid(EXTENSION_REQUEST), tlv(0x31, tlv(0x30, *extensions)))


def extension(kind: str, value: bytes) -> bytes:
    """An Extension."""
    return tlv(0x30, oid(kind), tlv(0x04, value))


def alternative_names(size: int) -> dict[str, bytes]:
    """Values of subjectAltName of about *size* bytes."""
    dns = {name: tlv(0x82, text.encode("utf-8", "replace")[: size - 100]) for name, text in inputs.SCRIPTS.items()}
    made = {f"one of {name}": tlv(0x30, one) for name, one in dns.items()}
    made["many names"] = tlv(0x30, *(tlv(0x82, b"host-%d.example.com" % number) for number in range(size // 24)))
    made["many A-labels"] = tlv(0x30, tlv(0x82, b"xn--zca.example.com") * (size // 21))
    made["many addresses"] = tlv(0x30, *(tlv(0x87, number.to_bytes(4, "big")) for number in range(size // 6)))
    made["many e-mail addresses"] = tlv(0x30, tlv(0x81, b"a@example.com") * (size // 15))
    made["one URI"] = tlv(0x30, tlv(0x86, b"http://example.com/" + b"%" * (size - 100)))
    made["directory names"] = tlv(0x30, tlv(0xA4, inputs.long_name("x", 100)) * (size // 20))
    return made


def test_a_good_request(target: Target) -> None:
    """A good request is the baseline for the others."""
    assert target.enroll(request()) == 200
    target.survives(lambda: target.enroll(request()))


@pytest.mark.parametrize("kind", sampled(sorted(inputs.names(100)), always=["name of combining marks"]))
def test_subjects(target: Target, kind: str) -> None:
    """Subjects as long as a body may be."""
    csr = request(inputs.names(SIZE)[kind])
    target.survives(lambda: target.enroll(csr))


@pytest.mark.parametrize("kind", sampled(sorted(alternative_names(1000)), 4))
def test_alternative_names(target: Target, kind: str) -> None:
    """Alternative names as long as a body may be."""
    csr = request(None, extension_request(extension(SUBJECT_ALT_NAME, alternative_names(SIZE)[kind])))
    target.survives(lambda: target.enroll(csr))


@pytest.mark.parametrize("kind", sampled(sorted(inputs.structures(100)), 4))
def test_structures(target: Target, kind: str) -> None:
    """Nothing that is no request: as the request, its key, an attribute, an extension, a name."""
    structure = inputs.structures(SIZE)[kind]

    def attack() -> None:
        target.enroll(structure)
        target.enroll(request(None, key=structure))
        target.enroll(request(structure))
        target.enroll(request(None, structure))
        target.enroll(request(None, extension_request(structure)))
        target.enroll(request(None, extension_request(extension(SUBJECT_ALT_NAME, structure))))

    target.survives(attack)


def test_attributes_and_extensions(target: Target) -> None:
    """Thousands of attributes, of values, of extensions, also the same again and again."""
    attribute = tlv(0x30, oid("1.2.3.4"), tlv(0x31, printable("x")))
    one = extension("1.2.3.4", b"\x05\x00")
    csrs = [
        request(None, *([attribute] * (SIZE // len(attribute)))),
        request(None, tlv(0x30, oid("1.2.3.4"), tlv(0x31, printable("x") * (SIZE // 3)))),
        request(None, extension_request(*([one] * (SIZE // len(one))))),
        request(None, *(extension_request(one) for _ in range(SIZE // 40))),
        request(None, tlv(0x30, oid(CHALLENGE_PASSWORD), tlv(0x31, tlv(0x0C, inputs.MARKS.encode()[:SIZE])))),
    ]
    target.survives(lambda: [target.enroll(csr) for csr in csrs])


@pytest.mark.parametrize(
    "body",
    [
        b"A" * 60_000,
        b"A \n" * 20_000,
        b"-----BEGIN CERTIFICATE REQUEST-----\n" * 1500,
        b"-----BEGIN CERTIFICATE REQUEST-----" + b" " * 60_000,
        b"-" * 60_000,
        b"\xff\xfe" + b"A\0" * 30_000,
        b"=" * 60_000,
    ],
    ids=["letters", "spaces", "many headers", "no end", "dashes", "UTF-16", "padding"],
)
def test_texts(target: Target, body: bytes) -> None:
    """Bodies that are text."""
    credentials = base64.b64encode(f"{target.username}:{target.password}".encode()).decode()
    headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/pkcs10"}
    target.survives(lambda: target.send("https", "/.well-known/est/simpleenroll", body, headers))


def test_labels_and_credentials(target: Target) -> None:
    """Before anybody is known: labels, names and passwords, Authorization in odd forms."""
    headers = [
        {"Authorization": "Basic " + base64.b64encode(b"a" * 10_000 + b":" + b"b" * 10_000).decode()},
        {"Authorization": "Basic " + base64.b64encode(inputs.MARKS.encode()[:12_000] + b":x").decode()},
        {"Authorization": " " * 20_000},
        {"Authorization": "Basic " * 4_000},
        {"Content-Type": "application/pkcs10" + "; a=b" * 4_000},
        {"Content-Type": "a/" * 10_000},
    ]

    def attack() -> None:
        for fields in headers:
            target.send("https", "/.well-known/est/simpleenroll", b"x", fields)
        target.send("https", f"/.well-known/est/{'a%CC%80' * 8000}/simpleenroll", b"x")
        target.send("https", "/.well-known/est/" + "a/" * 20_000)

    target.survives(attack)


def test_outer_structure_is_signed_rightly() -> None:
    """The requests made here fail for what is in them, not for their signature."""
    info = members(split(request())[1])[0]
    assert split(info)[0] == 0x30
