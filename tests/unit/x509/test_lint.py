"""LNT-1: this program's own rules, each alone, and none missing that pkilint has, over names, policies and keys."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from cryptography import x509

from pikachu.core.errors import PikachuError
from pikachu.core.model.lint import Finding, Severity, errors_of
from pikachu.lint.linter import installed_linter
from pikachu.x509 import der
from pikachu.x509.certificate import (
    SUBJECT_ALTERNATIVE_NAME,
    SUBJECT_KEY_IDENTIFIER,
    Validity,
    assemble,
    parse_certificate,
    tbs_certificate,
)
from pikachu.x509.extension import Extension
from pikachu.x509.lint.rules import lint
from pikachu.x509.names import COUNTRY, read_name
from pikachu.x509.profile import Addresses, leaf_extensions
from pikachu.x509.spki import KeyDescription, KeyFamily, describe_spki
from pikachu.x509.template import ExtensionContext, parse
from tests.support.issued_lint import own_errors
from tests.support.pki import make_ca, make_key, make_leaf, signature_algorithm, spki

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
VALIDITY: Final = Validity(NOW, NOW + timedelta(days=30))
CA: Final = make_ca("p256", "Issuing CA")
ISSUER: Final = parse_certificate(CA.der)
KEYS: Final = {kind: describe_spki(spki(make_key(kind))) for kind in ("rsa2048", "p256", "ed25519", "mldsa44")}
SERIAL: Final = 1 << 158
ADDRESSES: Final = Addresses("http://ca.example.com/ocsp", "http://ca.example.com/ec.cer", "http://ca.example.com/crl")


def attribute(oid: str, value: bytes) -> bytes:
    return der.sequence(der.oid(oid), value)


def name(*rdns: Sequence[bytes]) -> bytes:
    return der.sequence(*(der.set_of(rdn) for rdn in rdns))


COMMON_NAME: Final = attribute("2.5.4.3", der.utf8_string("device"))
#: Subjects, whose values nobody has checked.
SUBJECTS: Final = {
    "common name": name([COMMON_NAME]),
    "empty": name(),
    "country": name([attribute(COUNTRY, der.printable_string("DE"))], [COMMON_NAME]),
    "long country": name([attribute(COUNTRY, der.printable_string("DEU"))]),
    "country as UTF8String": name([attribute(COUNTRY, der.utf8_string("DE"))]),
    "repeated type": name([COMMON_NAME, attribute("2.5.4.3", der.utf8_string("other"))]),
    "email": name([COMMON_NAME], [attribute("1.2.840.113549.1.9.1", der.ia5_string("a@example.com"))]),
    "no email": name([attribute("1.2.840.113549.1.9.1", der.ia5_string("nobody"))]),
    "domain": name(*([attribute("0.9.2342.19200300.100.1.25", der.ia5_string(one))] for one in ("com", "example"))),
    "no domain": name([attribute("0.9.2342.19200300.100.1.25", der.ia5_string("a b"))]),
    "long common name": name([attribute("2.5.4.3", der.utf8_string("x" * 65))]),
    "empty value": name([attribute("2.5.4.10", der.utf8_string(""))]),
    "serial number as UTF8String": name([attribute("2.5.4.5", der.utf8_string("1"))]),
}
#: GeneralNames of a subjectAltName; None: it has none.
NAMES: Final[dict[str, Sequence[bytes] | None]] = {
    "none": None,
    "no names": (),
    "DNS": (der.implicit(2, b"a.example.com"),),
    "wildcard and one label": (der.implicit(2, b"*.example.com"), der.implicit(2, b"device-1")),
    "no DNS": (der.implicit(2, b"a b!"),),
    "long DNS": (der.implicit(2, b".".join([b"a" * 60] * 5)),),
    "bad A-label": (der.implicit(2, b"xn--a.example.com"),),
    "email": (der.implicit(1, b"a@example.com"),),
    "no email": (der.implicit(1, b"example.com"),),
    "URI": (der.implicit(6, b"urn:uuid:1"),),
    "no URI": (der.implicit(6, b"http:// a"),),
    "IP": (der.implicit(7, bytes([192, 0, 2, 1])), der.implicit(7, bytes(15) + b"\1")),
    "no IP": (der.implicit(7, b"123"),),
    "directory": (der.explicit(4, SUBJECTS["common name"]),),
    "bad directory": (der.explicit(4, SUBJECTS["long country"]),),
    "UTF-8 mailbox": (
        der.explicit(0, der.oid("1.3.6.1.5.5.7.8.9") + der.explicit(0, der.utf8_string("ü@example.com"))),
    ),
    "ASCII in a UTF-8 mailbox": (
        der.explicit(0, der.oid("1.3.6.1.5.5.7.8.9") + der.explicit(0, der.utf8_string("u@example.com"))),
    ),
    "upper case in a UTF-8 mailbox": (
        der.explicit(0, der.oid("1.3.6.1.5.5.7.8.9") + der.explicit(0, der.utf8_string("ü@Example.com"))),
    ),
}
#: Lines of a policy's text, and the codes of the errors that they lead to.
POLICIES: Final = {
    "": (),
    "authorityInfoAccess = critical, OCSP;URI:http://a.example.com": ("criticality",),
    "subjectKeyIdentifier = critical, hash": ("criticality",),
    "authorityKeyIdentifier = critical, keyid": ("criticality",),
    "authorityKeyIdentifier = DER:3000": ("aki_key_identifier",),
    "authorityKeyIdentifier = DER:3003820101": ("aki_issuer", "aki_key_identifier"),
    "authorityInfoAccess = OCSP;URI:nothing": ("uri_syntax",),
    "crlDistributionPoints = URI:http:///x": ("uri_syntax",),
    "crlDistributionPoints = DER:30023000": ("cdp_without_name",),
    "crlDistributionPoints = DER:3000": ("cdp_empty",),
    "crlDistributionPoints = URI:ldap:///CN=x?certificateRevocationList": (),
    "basicConstraints = CA:TRUE": ("ca_not_critical",),
    "basicConstraints = critical, CA:TRUE": (),
    "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, cRLSign": ("ca_key_usage",),
    "basicConstraints = DER:3003020100": ("pathlen_without_ca",),
    "keyUsage = critical, digitalSignature, keyAgreement": (),
    "keyUsage = critical, digitalSignature, keyCertSign": ("key_cert_sign",),
    "keyUsage = DER:03020780": (),
    "keyUsage = DER:030100": ("key_usage_empty",),
    "nameConstraints = critical, permitted;DNS:example.com": ("ca_only",),
    "nameConstraints = permitted;DNS:example.com": ("ca_only", "criticality"),
    "policyConstraints = critical, requireExplicitPolicy:0": ("ca_only",),
    "inhibitAnyPolicy = critical, 0": ("ca_only",),
    "certificatePolicies = 1.2.3.4": (),
    "certificatePolicies = DER:300c300406022a03300406022a03": ("policies_repeat",),
    "certificatePolicies = DER:3000": ("policies_empty",),
    "certificatePolicies = @p\n[ p ]\npolicyIdentifier = 1.2.3\nCPS.1 = nothing": ("uri_syntax",),
    "extendedKeyUsage = timeStamping": ("time_stamping",),
    "extendedKeyUsage = critical, timeStamping": (),
    "extendedKeyUsage = DER:3000": ("eku_empty",),
    "crlDistributionPoints = DER:30020500": ("malformed",),
    "issuerAltName = URI:http://a.example.com": (),
}


def extensions(text: str, names: Sequence[bytes] | None, subject: bytes, key: KeyDescription) -> tuple[Extension, ...]:
    """The extensions of a certificate under a policy with that text."""
    context = ExtensionContext(
        issuer_key_identifier=ISSUER.key_identifier,
        issuer_issuer_der=ISSUER.issuer_der,
        issuer_serial=ISSUER.serial,
        subject_spki=key.spki,
        subject_der=subject,
        variables={},
    )
    return leaf_extensions(
        policy=parse(f"[ v3_ext ]\n{text}\n").extensions(context),
        requested_names=None if names is None else Extension(SUBJECT_ALTERNATIVE_NAME, False, der.sequence(*names)),
        subject_der=subject,
        key=key,
        issuer=ISSUER,
        addresses=ADDRESSES,
    )


def findings(subject: bytes, made: tuple[Extension, ...], key: KeyDescription) -> tuple[Finding, ...]:
    return lint(subject=read_name(subject), family=key.family, extensions=made, serial=SERIAL, validity=VALIDITY)


def codes(found: tuple[Finding, ...]) -> tuple[str, ...]:
    """The codes of the errors."""
    return tuple(sorted({one.code.removeprefix("pikachu.") for one in errors_of(found)}))


@pytest.mark.parametrize("text", POLICIES)
def test_extensions(text: str) -> None:
    """The rules of extensions, by what a policy says."""
    subject, key = SUBJECTS["common name"], KEYS["p256"]
    assert codes(findings(subject, extensions(text, NAMES["DNS"], subject, key), key)) == POLICIES[text]


@pytest.mark.parametrize(
    ("subject", "names", "expected"),
    [
        ("common name", "DNS", ()),
        ("common name", "wildcard and one label", ()),
        ("common name", "URI", ()),
        ("common name", "UTF-8 mailbox", ()),
        ("empty", "DNS", ()),
        ("country", "none", ()),
        ("domain", "none", ()),
        ("email", "email", ()),
        ("email", "DNS", ("subject_email_not_in_san",)),
        ("no email", "none", ("name_attribute", "subject_email_not_in_san")),
        ("long country", "none", ("country_code",)),
        ("country as UTF8String", "none", ("name_attribute",)),
        ("repeated type", "none", ("name_repeats_type",)),
        ("no domain", "none", ("domain_components",)),
        ("common name", "no names", ("san_empty",)),
        ("common name", "ASCII in a UTF-8 mailbox", ("smtp_utf8_mailbox",)),
        ("common name", "bad directory", ("country_code",)),
        *(
            ("common name", names, ("general_name",))
            for names in ("no DNS", "long DNS", "bad A-label", "no email", "no URI", "no IP")
        ),
        *((one, "none", ("name_attribute",)) for one in ("long common name", "empty value")),
    ],
)
def test_names(subject: str, names: str, expected: tuple[str, ...]) -> None:
    """The rules of the subject and of alternative names."""
    key, encoded = KEYS["p256"], SUBJECTS[subject]
    assert codes(findings(encoded, extensions("", NAMES[names], encoded, key), key)) == expected


def test_the_rest() -> None:
    """Serial number, validity, repeated extensions, key usage of the key, identifiers, a critical SAN."""
    key, subject = KEYS["mldsa44"], SUBJECTS["common name"]
    good = extensions("", NAMES["DNS"], subject, key)
    usage = Extension("2.5.29.15", True, der.named_bits([0, 2, 7, 8]))
    changed = tuple(usage if one.oid == usage.oid else one for one in good)
    assert codes(findings(subject, changed, key)) == ("both_only", "key_usage_of_key")
    assert codes(findings(subject, (*good, good[0]), key)) == ("repeated_extension",)
    without = tuple(one for one in good if one.oid != "2.5.29.35")
    assert codes(findings(subject, without, key)) == ("aki_absent",)
    empty = Extension(SUBJECT_KEY_IDENTIFIER, False, der.octet_string(b""))
    others = tuple(one for one in good if one.oid != SUBJECT_KEY_IDENTIFIER)
    assert codes(findings(subject, (*others, empty), key)) == ("ski_empty",)
    critical = tuple(Extension(one.oid, True, one.value) if one.oid == "2.5.29.17" else one for one in good)
    assert [one.severity for one in findings(subject, critical, key)] == [Severity.WARNING]
    for serial, validity, expected in (
        (0, VALIDITY, "serial_number"),
        (1 << 159, VALIDITY, "serial_number"),
        (1, Validity(VALIDITY.not_after, VALIDITY.not_before), "validity"),
    ):
        found = lint(
            subject=read_name(subject), family=KeyFamily.ML_DSA, extensions=good, serial=serial, validity=validity
        )
        assert codes(found) == (expected,)


def test_pkilint_finds_no_more() -> None:
    """Nothing that these rules pass has an error of pkilint: subjects with names, and policies with keys."""
    passed = []
    cases = [("", *pair, "p256") for pair in itertools.product(SUBJECTS, NAMES)]
    cases += [(text, "common name", "DNS", kind) for text in POLICIES for kind in KEYS]
    for text, subject, names, kind in cases:
        key, encoded = KEYS[kind], SUBJECTS[subject]
        try:
            made = extensions(text, NAMES[names], encoded, key)
        except PikachuError:
            continue
        if codes(findings(encoded, made, key)):
            continue
        tbs = tbs_certificate(
            serial=SERIAL,
            algorithm=signature_algorithm(CA.key),
            issuer_der=CA.subject_der,
            validity=VALIDITY,
            subject_der=encoded,
            spki_der=key.spki,
            extensions=made,
        )
        passed.append(assemble(tbs, signature_algorithm(CA.key), bytes(64)))
    assert len(passed) > 60
    linter = installed_linter()
    assert linter is not None
    found = linter.lint(passed)
    linter.close()
    assert errors_of(found) == ()


def test_everything_that_tests_issue_is_linted() -> None:
    """The check of each stack that is closed reads signed bytes: here, an extension of CAs."""
    constraints = x509.NameConstraints([x509.DNSName("example.com")], None)
    good, bad = make_leaf(CA), make_leaf(CA, extensions=[constraints])
    assert own_errors(parse_certificate(good.der)) == ()
    assert "ca_only" in codes(tuple(own_errors(parse_certificate(bad.der))))
