"""CA certificates as other programs make them, byte by byte: string types, tags and encodings that libraries refuse.

Each case is signed by a real key, so that only its form is odd.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from pikachu.x509 import der
from tests.support.pki import PrivateKey, sign, signature_algorithm, spki

COMMON_NAME: Final = "2.5.4.3"
COUNTRY: Final = "2.5.4.6"
LOCALITY: Final = "2.5.4.7"
ORGANIZATION: Final = "2.5.4.10"
EMAIL: Final = "1.2.840.113549.1.9.1"
NUMERIC_STRING: Final = 0x12
VISIBLE_STRING: Final = 0x1A
GENERAL_STRING: Final = 0x1B


def name(*attributes: tuple[str, int, bytes]) -> bytes:
    """Return a DER Name with an attribute in each RDN.

    :param attributes: the OID, the tag of the value, and its content.
    """
    return der.sequence(
        *(der.tlv(der.SET, der.sequence(der.oid(oid), der.tlv(tag, value))) for oid, tag, value in attributes)
    )


def _of(organization: tuple[int, bytes] | None = None, common_name: tuple[int, bytes] = (0x0C, b"Odd CA")) -> bytes:
    attributes = [] if organization is None else [(ORGANIZATION, *organization)]
    return name(*attributes, (COMMON_NAME, *common_name))


#: Names that must be read, and stay byte for byte what they are.
NAMES: Final[Mapping[str, bytes]] = {
    "T61String in Latin-1": _of((der.T61_STRING, "Müller & Söhne".encode("latin-1"))),
    "T61String, ASCII": _of((der.T61_STRING, b"Example")),
    "PrintableString with &": _of((der.PRINTABLE_STRING, b"Brown & Sons")),
    "PrintableString with *": _of((der.PRINTABLE_STRING, b"*.example.com")),
    "PrintableString with @": _of((der.PRINTABLE_STRING, b"ca@example.com")),
    "PrintableString with _": _of((der.PRINTABLE_STRING, b"my_ca")),
    "PrintableString in Latin-1": _of((der.PRINTABLE_STRING, "Müller".encode("latin-1"))),
    "BMPString": _of((der.BMP_STRING, "Müller".encode("utf-16-be"))),
    "UniversalString": _of((der.UNIVERSAL_STRING, "Müller".encode("utf-32-be"))),
    "IA5String": _of((der.IA5_STRING, b"Example")),
    "IA5String in Latin-1": _of((der.IA5_STRING, "Müller".encode("latin-1"))),
    "NumericString": _of((NUMERIC_STRING, b"12 34")),
    "empty value": _of((der.PRINTABLE_STRING, b"")),
    "spaces": _of((der.PRINTABLE_STRING, b"  Example   Ltd ")),
    "control characters": _of((der.UTF8_STRING, b"a\tb\nc")),
    "NUL": _of((der.UTF8_STRING, b"a\0b")),
    "NUL at the end": _of((der.T61_STRING, b"Example\0")),
    "right to left": _of((der.UTF8_STRING, "abc\u202edef".encode())),
    "long common name": _of(None, (der.UTF8_STRING, b"x" * 100)),
    "long organization": _of((der.UTF8_STRING, b"x" * 300)),
    "C=USA": name((COUNTRY, der.PRINTABLE_STRING, b"USA"), (COMMON_NAME, der.UTF8_STRING, b"Odd CA")),
    "C as UTF8String": name((COUNTRY, der.UTF8_STRING, b"DE"), (COMMON_NAME, der.UTF8_STRING, b"Odd CA")),
    "C in lower case": name((COUNTRY, der.PRINTABLE_STRING, b"de"), (COMMON_NAME, der.UTF8_STRING, b"Odd CA")),
    "empty C": name((COUNTRY, der.PRINTABLE_STRING, b""), (COMMON_NAME, der.UTF8_STRING, b"Odd CA")),
    "e-mail address as UTF8String": name(
        (COMMON_NAME, der.UTF8_STRING, b"Odd CA"), (EMAIL, der.UTF8_STRING, b"ca@example.com")
    ),
    "no common name": name((ORGANIZATION, der.UTF8_STRING, b"Odd CA")),
    "two values in one RDN, in another order": der.sequence(
        der.tlv(
            der.SET,
            der.sequence(der.oid(ORGANIZATION), der.utf8_string("Example"))
            + der.sequence(der.oid(COMMON_NAME), der.utf8_string("Odd CA")),
        )
    ),
    "common name twice": name((COMMON_NAME, der.UTF8_STRING, b"One"), (COMMON_NAME, der.PRINTABLE_STRING, b"Two")),
}

#: Names that must be read, too, but that OpenSSL does not read, so that TLS can't use their certificates.
NAMES_WITHOUT_TLS: Final[Mapping[str, bytes]] = {
    "bytes that are no UTF-8": _of((der.UTF8_STRING, "Müller".encode("latin-1"))),
    "BMPString of odd length": _of((der.BMP_STRING, b"\x00M\x00")),
    "BMPString with surrogates": _of((der.BMP_STRING, "\U0001f511".encode("utf-16-be"))),
    "VisibleString": _of((VISIBLE_STRING, b"Example")),
    "GeneralString": _of((GENERAL_STRING, b"Example")),
    "OCTET STRING": _of((der.OCTET_STRING, b"Example")),
    "unknown attribute": name((COMMON_NAME, der.UTF8_STRING, b"Odd CA"), ("1.2.3.4.5", der.INTEGER, b"\x05")),
}

#: Pairs of a CA's name and the issuer's name in what it has issued, which RFC 5280 section 7.1 says are the same.
EQUAL_NAMES: Final[Mapping[str, tuple[bytes, bytes]]] = {
    "PrintableString and UTF8String": (_of((der.PRINTABLE_STRING, b"Example")), _of((der.UTF8_STRING, b"Example"))),
    "T61String and UTF8String": (
        _of((der.T61_STRING, "Müller".encode("latin-1"))),
        _of((der.UTF8_STRING, "Müller".encode())),
    ),
    "BMPString and UTF8String": (
        _of((der.BMP_STRING, "Müller".encode("utf-16-be"))),
        _of((der.UTF8_STRING, "Müller".encode())),
    ),
    "upper and lower case": (_of((der.UTF8_STRING, b"EXAMPLE Ltd")), _of((der.UTF8_STRING, b"Example LTD"))),
    "spaces": (_of((der.UTF8_STRING, b" Example   Ltd ")), _of((der.UTF8_STRING, b"Example Ltd"))),
    "all of them": (
        _of((der.PRINTABLE_STRING, b"EXAMPLE  Ltd"), (der.PRINTABLE_STRING, b"odd ca")),
        _of((der.UTF8_STRING, b"Example Ltd "), (der.BMP_STRING, "Odd CA".encode("utf-16-be"))),
    ),
}


def extension(oid: str, value: bytes, critical: bytes = b"") -> bytes:
    """Return a DER Extension.

    :param critical: the whole BOOLEAN, or nothing.
    """
    return der.sequence(der.oid(oid), critical, der.octet_string(value))


TRUE: Final = der.boolean(True)
FALSE: Final = der.boolean(False)


@dataclass(frozen=True)
class Form:
    """The encoding of a certificate's fields, each a whole DER element; empty ones are left out."""

    version: bytes = b"\xa0\x03\x02\x01\x02"
    serial: bytes | None = None
    algorithm: bytes | None = None
    outer_algorithm: bytes | None = None
    not_before: bytes | None = None
    not_after: bytes | None = None
    key: bytes | None = None
    unique_ids: bytes = b""
    #: By OID; replaces or adds to those of an ordinary CA.
    extensions: Mapping[str, bytes] = field(default_factory=dict)
    without_extensions: bool = False


_CONSTRAINTS, _USAGE, _SKI, _AKI = "2.5.29.19", "2.5.29.15", "2.5.29.14", "2.5.29.35"
_CA_VALUE: Final = der.sequence(TRUE)
_USAGE_VALUE: Final = der.named_bits((0, 5, 6))

#: Forms that must be read.
FORMS: Final[Mapping[str, Form]] = {
    "plain": Form(),
    "critical FALSE": Form(extensions={_CONSTRAINTS: extension(_CONSTRAINTS, _CA_VALUE, FALSE)}),
    "critical TRUE as 1": Form(extensions={_CONSTRAINTS: extension(_CONSTRAINTS, _CA_VALUE, b"\x01\x01\x01")}),
    "cA TRUE as 1": Form(extensions={_CONSTRAINTS: extension(_CONSTRAINTS, b"\x30\x03\x01\x01\x01", TRUE)}),
    "keyUsage with zero bits": Form(extensions={_USAGE: extension(_USAGE, b"\x03\x02\x00\x86", TRUE)}),
    "keyUsage of two bytes": Form(extensions={_USAGE: extension(_USAGE, b"\x03\x03\x07\x86\x00", TRUE)}),
    "no keyUsage": Form(extensions={_USAGE: b""}),
    "no key identifier": Form(extensions={_SKI: b"", _AKI: b""}),
    "short key identifier": Form(extensions={_SKI: extension(_SKI, b"\x04\x04abcd")}),
    "unknown extension, not DER": Form(extensions={"1.2.3.4": extension("1.2.3.4", b"\x01\x02")}),
    "unknown extension, empty": Form(extensions={"1.2.3.4": extension("1.2.3.4", b"")}),
    "unknown extension, multi-byte tag": Form(extensions={"1.2.3.4": extension("1.2.3.4", b"\x1f\x81\x01\x00")}),
    "AD CS version": Form(
        extensions={"1.3.6.1.4.1.311.21.1": extension("1.3.6.1.4.1.311.21.1", b"\x02\x03\x01\x00\x01")}
    ),
    "comment of Netscape": Form(
        extensions={"2.16.840.1.113730.1.13": extension("2.16.840.1.113730.1.13", b"\x16\x04abcd")}
    ),
    "zero serial": Form(serial=b"\x02\x01\x00"),
    "negative serial": Form(serial=b"\x02\x01\xfb"),
    "negative serial of 20 bytes": Form(serial=b"\x02\x14" + b"\xfb" * 20),
    "serial of 21 bytes": Form(serial=b"\x02\x15\x00" + b"\xfb" * 20),
    "serial of 40 bytes": Form(serial=b"\x02\x28" + b"\x7b" * 40),
    "version 2": Form(version=b"\xa0\x03\x02\x01\x01"),
    "version 1, written out": Form(version=b"\xa0\x03\x02\x01\x00"),
    "no version": Form(version=b""),
    "version 4": Form(version=b"\xa0\x03\x02\x01\x03"),
    "GeneralizedTime before 2050": Form(not_after=der.tlv(der.GENERALIZED_TIME, b"20490101000000Z")),
    "end of time": Form(not_after=der.tlv(der.GENERALIZED_TIME, b"99991231235959Z")),
    "unique identifiers": Form(unique_ids=b"\x81\x02\x00\x01\x82\x02\x00\x02"),
}

_RSA_SHA256: Final = "1.2.840.113549.1.1.11"
#: Forms that need an RSA key.
RSA_FORMS: Final[Mapping[str, Form]] = {
    "no NULL": Form(algorithm=der.sequence(der.oid(_RSA_SHA256)), outer_algorithm=der.sequence(der.oid(_RSA_SHA256))),
}

#: Forms that only a root may have.
ROOT_FORMS: Final[Mapping[str, Form]] = {
    "version 1": Form(version=b"", without_extensions=True),
    "version 1, written out, no extensions": Form(version=b"\xa0\x03\x02\x01\x00", without_extensions=True),
}

#: Forms that must be read, too, but that OpenSSL does not read.
FORMS_WITHOUT_TLS: Final[Mapping[str, Form]] = {"padded serial": Form(serial=b"\x02\x02\x00\x07")}

#: Forms that can't be used, and what the message says.
REFUSED_FORMS: Final[Mapping[str, tuple[Form, str]]] = {
    "padded length": (Form(serial=b"\x02\x81\x01\x05"), "shortest form"),
    "UTCTime without seconds": (Form(not_before=der.tlv(der.UTC_TIME, b"2501010000Z")), "time is not in the form"),
    "UTCTime with a zone": (Form(not_before=der.tlv(der.UTC_TIME, b"250101000000+0100")), "time is not in the form"),
    "fractions of seconds": (
        Form(not_before=der.tlv(der.GENERALIZED_TIME, b"20250101000000.5Z")),
        "time is not in the form",
    ),
    "two algorithms": (Form(outer_algorithm=der.sequence(der.oid("1.2.840.10045.4.3.3"))), "algorithms"),
    "basicConstraints of another type": (
        Form(extensions={_CONSTRAINTS: extension(_CONSTRAINTS, b"\x02\x01\x05")}),
        "basicConstraints",
    ),
    "basicConstraints, empty": (Form(extensions={_CONSTRAINTS: extension(_CONSTRAINTS, b"")}), "basicConstraints"),
    "keyUsage of another type": (Form(extensions={_USAGE: extension(_USAGE, b"\x05\x00")}), "keyUsage"),
    "keyUsage without a byte": (Form(extensions={_USAGE: extension(_USAGE, b"\x03\x00")}), "keyUsage"),
    "key identifier of another type": (Form(extensions={_SKI: extension(_SKI, b"abcd")}), "subjectKeyIdentifier"),
    "authority key identifier cut short": (
        Form(extensions={_AKI: extension(_AKI, b"\x30\x05\x80")}),
        "authorityKeyIdentifier",
    ),
    "extension twice": (
        Form(extensions={"1.2.3.4": extension("1.2.3.4", b"\x05\x00") * 2}),
        "twice",
    ),
}


def certificate(
    key: PrivateKey,
    subject: bytes,
    form: Form,
    *,
    issuer_key: PrivateKey | None = None,
    issuer: bytes | None = None,
) -> bytes:
    """Return a CA certificate of that form, in DER.

    :param issuer_key: signs it; its own key without one.
    :param issuer: the issuer's name; without one the subject's.
    """
    signer = issuer_key or key
    now = datetime.now(UTC).replace(microsecond=0)
    algorithm = form.algorithm or signature_algorithm(signer)
    extensions = {
        _CONSTRAINTS: extension(_CONSTRAINTS, _CA_VALUE, TRUE),
        _USAGE: extension(_USAGE, _USAGE_VALUE, TRUE),
        _SKI: extension(_SKI, der.octet_string(key_identifier(key))),
        _AKI: extension(_AKI, der.sequence(der.implicit(0, key_identifier(signer)))),
        **form.extensions,
    }
    tbs = der.sequence(
        form.version,
        form.serial or (b"\x02\x01\x05" if issuer is None else b"\x02\x01\x06"),
        algorithm,
        subject if issuer is None else issuer,
        der.sequence(
            form.not_before or der.time(now - timedelta(days=1)), form.not_after or der.time(now + timedelta(days=2000))
        ),
        subject,
        form.key or spki(key),
        form.unique_ids,
        b"" if form.without_extensions else der.explicit(3, der.sequence(*extensions.values())),
    )
    return der.sequence(tbs, form.outer_algorithm or algorithm, der.bit_string(sign(signer, tbs)))


def key_identifier(key: PrivateKey) -> bytes:
    """Return the SHA-1 of the public key's bits."""
    bits = der.parse(spki(key)).sub()[1].content[1:]
    return hashlib.sha1(bits, usedforsecurity=False).digest()
