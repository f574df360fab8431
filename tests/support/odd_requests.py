"""CSRs with content that reaches no certificate, in every odd form: attributes, extension requests, names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from pikachu.x509 import der
from pikachu.x509.csr import EXTENSION_REQUEST, MICROSOFT_EXTENSIONS, decode_csr_input
from pikachu.x509.names import name_from_text
from tests.unit.x509.requests import attribute, dns, extension, san

VECTORS: Final = Path(__file__).parents[1] / "vectors" / "csr"
_ALGORITHMS: Final = {"RSA": "1.2.840.113549.1.1.11", "EC": "1.2.840.10045.4.3.2"}


def vector(name: str) -> bytes:
    """The DER CSR of a file in ``tests/vectors/csr``."""
    return decode_csr_input((VECTORS / f"{name}.pem").read_bytes())


def signed_csr(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, subject: str | bytes, attributes: tuple[bytes, ...]
) -> bytes:
    """A DER CSR that *key* signs; the attributes stay as they are given."""
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    name = name_from_text(subject) if isinstance(subject, str) else subject
    info = der.sequence(der.integer(0), name, public, der.explicit(0, b"".join(attributes)))
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(info, padding.PKCS1v15(), hashes.SHA256())
        algorithm = der.sequence(der.oid(_ALGORITHMS["RSA"]), der.null())
    else:
        signature = key.sign(info, ec.ECDSA(hashes.SHA256()))
        algorithm = der.sequence(der.oid(_ALGORITHMS["EC"]))
    return der.sequence(info, algorithm, der.bit_string(signature))


KEY_USAGE: Final = der.sequence(extension("2.5.29.15", der.named_bits([0])))
_OTHER_USAGE: Final = der.sequence(extension("2.5.29.15", der.named_bits([5])))
_INDEFINITE: Final = b"\x30\x80\x05\x00\x00\x00"
_MULTI_BYTE_TAG: Final = b"\x7f\x21\x03\x02\x01\x05"
_VALUES: Final = {
    "T61String": der.tlv(der.T61_STRING, KEY_USAGE),
    "OCTET STRING": der.octet_string(KEY_USAGE),
    "BIT STRING": der.bit_string(KEY_USAGE),
    "UTF8String": der.utf8_string("text"),
    "PrintableString": der.printable_string("text"),
    "INTEGER": der.integer(5),
    "BOOLEAN": der.boolean(True),
    "NULL": der.null(),
    "OID": der.oid("2.5.29.15"),
    "SET": der.set_of((extension("2.5.29.15", der.named_bits([0])),)),
    "context tag": der.explicit(0, KEY_USAGE),
    "multi-byte tag": _MULTI_BYTE_TAG,
    "indefinite length": _INDEFINITE,
    "list of something else": der.sequence(der.null(), der.integer(1)),
    "Extension that is no list": extension("2.5.29.15", der.named_bits([0])),
}


def _of(oid: str, kind: str) -> dict[str, tuple[bytes, ...]]:
    """The odd forms of an attribute."""
    return {
        **{f"{kind}: {name}": (attribute(oid, value),) for name, value in _VALUES.items()},
        f"{kind}: empty SET": (attribute(oid),),
        f"{kind}: no SET": (der.sequence(der.oid(oid), KEY_USAGE),),
        f"{kind}: no values": (der.sequence(der.oid(oid)),),
        f"{kind}: three parts": (der.sequence(der.oid(oid), der.set_of((KEY_USAGE,)), der.null()),),
        f"{kind}: two values": (attribute(oid, KEY_USAGE, _OTHER_USAGE),),
        f"{kind}: two values, one odd": (attribute(oid, KEY_USAGE, der.null()),),
        f"{kind}: twice": (attribute(oid, KEY_USAGE),) * 2,
        f"{kind}: twice, different": (attribute(oid, KEY_USAGE), attribute(oid, _OTHER_USAGE)),
        f"{kind}: twice, one odd": (attribute(oid, KEY_USAGE), attribute(oid, der.tlv(der.T61_STRING, KEY_USAGE))),
    }


def _asked(*extensions: bytes) -> tuple[bytes, ...]:
    return (attribute(EXTENSION_REQUEST, der.sequence(*extensions)),)


#: Attributes that stop no request, whatever the policy says.
ODD_ATTRIBUTES: Final[Mapping[str, tuple[bytes, ...]]] = {
    **_of(EXTENSION_REQUEST, "extensionRequest"),
    **_of(MICROSOFT_EXTENSIONS, "Microsoft's extensions"),
    **_of("1.2.3.4.5", "unknown attribute"),
    **_of("1.2.840.113549.1.9.2", "unstructuredName"),
    "both extension requests, different": (
        attribute(EXTENSION_REQUEST, KEY_USAGE),
        attribute(MICROSOFT_EXTENSIONS, _OTHER_USAGE),
    ),
    "attribute that is no SEQUENCE": (der.null(),),
    "attribute without content": (der.sequence(),),
    "attribute whose type is no OID": (der.sequence(der.integer(1), der.set_of((der.null(),))),),
    "attribute whose OID has no end": (der.sequence(b"\x06\x02\xff\xff", der.set_of(())),),
    "attribute with deep nesting": (attribute("1.2.3.4", b"\x30\x82\x03\xe8" + b"\x30\x80" * 500),),
    "extension without a value": _asked(der.sequence(der.oid("1.2.3.4"))),
    "extension of four parts": _asked(
        der.sequence(der.oid("1.2.3.4"), der.boolean(True), der.octet_string(der.null()), der.null())
    ),
    "extension whose value is no OCTET STRING": _asked(der.sequence(der.oid("1.2.3.4"), der.null())),
    "extension with a BOOLEAN of BER": _asked(
        der.sequence(der.oid("1.2.3.4"), b"\x01\x01\x01", der.octet_string(der.null()))
    ),
    "extension without an OID": _asked(der.sequence(der.boolean(True))),
    "extension that is no SEQUENCE": _asked(der.null(), extension("1.2.3.4", der.null())),
    "extension twice": _asked(*(extension("2.5.29.15", der.named_bits([0])),) * 2),
    "extension twice, different": _asked(
        extension("2.5.29.15", der.named_bits([0])), extension("2.5.29.15", der.named_bits([5]))
    ),
    **{
        f"extension value: {name}": _asked(extension("1.3.6.1.4.1.41482.3.3", value))
        for name, value in {
            "nothing": b"",
            "raw bytes": b"\x05\x02\x04",
            "cut short": b"\x04\x05a",
            "bytes behind": der.null() + b"x",
            "two elements": der.null() + der.null(),
            "multi-byte tag": _MULTI_BYTE_TAG,
            "indefinite length": _INDEFINITE,
            "text": b"0102",
        }.items()
    },
    **{
        f"extension of another type: {oid}": _asked(extension(oid, der.null(), critical=True))
        for oid in ("2.5.29.14", "2.5.29.15", "2.5.29.19", "2.5.29.35", "2.5.29.37", "2.5.29.31", "1.3.6.1.5.5.7.1.1")
    },
}


def other_name(oid: str, value: bytes) -> bytes:
    """An otherName."""
    return der.explicit(0, der.oid(oid) + der.explicit(0, value))


UPN: Final = other_name("1.3.6.1.4.1.311.20.2.3", der.utf8_string("u@example.com"))
NAI_REALM: Final = other_name("1.3.6.1.5.5.7.8.8", der.utf8_string("example.com"))
KERBEROS: Final = other_name(
    "1.3.6.1.5.2.2",
    der.sequence(
        der.explicit(0, der.tlv(der.GENERAL_STRING, b"EXAMPLE.COM")),
        der.explicit(
            1,
            der.sequence(
                der.explicit(0, der.integer(1)),
                der.explicit(1, der.sequence(der.tlv(der.GENERAL_STRING, b"device"))),
            ),
        ),
    ),
)
HARDWARE_MODULE: Final = other_name(
    "1.3.6.1.5.5.7.8.4", der.sequence(der.oid("1.3.6.1.4.1.99999.1"), der.octet_string(b"\x01\x02\x03"))
)
#: GeneralNames of kinds that no policy copies unless it says so.
UNCOPIED_NAMES: Final[Mapping[str, bytes]] = {
    "UPN": UPN,
    "NAIRealm": NAI_REALM,
    "krb5": KERBEROS,
    "hardwareModuleName": HARDWARE_MODULE,
    "unknown otherName": other_name("1.2.3.4", der.null()),
    "otherName with a multi-byte tag": other_name("1.2.3.4", _MULTI_BYTE_TAG),
    "otherName without a value": der.explicit(0, der.oid("1.2.3.4")),
    "otherName that is none": der.explicit(0, b"\x01"),
    "otherName that is empty": der.explicit(0, b""),
    "x400Address": der.explicit(3, der.sequence(der.sequence())),
    "ediPartyName": der.explicit(5, der.explicit(1, der.utf8_string("party"))),
}
GOOD_NAME: Final = dns(b"device.example.com")
#: Requests for names that are refused where they are copied, and passed over elsewhere.
BAD_NAMES: Final[Mapping[str, tuple[bytes, ...]]] = {
    "underscore": (san(dns(b"my_host")),),
    "NUL": (san(dns(b"a\0b")),),
    "empty DNS name": (san(dns(b"")),),
    "IP address of five bytes": (san(der.implicit(7, bytes(5))),),
    "javascript": (san(der.implicit(6, b"javascript:alert(1)")),),
    "registeredID that is none": (san(der.implicit(8, b"\x80")),),
    "unknown kind": (san(der.implicit(9, b"x")),),
    "no names": (san(),),
    "names that are no list": _asked(extension("2.5.29.17", b"\x01\x02")),
    "names that are no extension": _asked(der.sequence(der.oid("2.5.29.17"), der.null())),
    "names twice": _asked(*(extension("2.5.29.17", der.sequence(GOOD_NAME)),) * 2),
    "names twice, different": (san(GOOD_NAME), san(dns(b"b.example.com"))),
    "different names, Microsoft's way": (
        san(GOOD_NAME),
        attribute(MICROSOFT_EXTENSIONS, der.sequence(extension("2.5.29.17", der.sequence(dns(b"b.example.com"))))),
    ),
    "a hundred and one names": (san(*(dns(b"n%d.example.com" % number) for number in range(101))),),
}
