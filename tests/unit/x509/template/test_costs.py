"""Costs of reading a long text of a policy or template."""

from __future__ import annotations

import contextlib

import pytest

from pikachu.core.errors import BadTemplate
from pikachu.x509.template import ExtensionContext, parse
from pikachu.x509.template.configuration import MAXIMUM_TEXT
from pikachu.x509.template.distinguished_name import attribute_type
from tests.support.pki import make_key, spki
from tests.support.reference_work import BATCH, cost_in_signatures

HEAD = "[ v3_ext ]\n"
CONTEXT = ExtensionContext(
    issuer_key_identifier=bytes(20),
    issuer_issuer_der=b"\x30\x00",
    issuer_serial=1,
    subject_spki=spki(make_key("p256")),
    subject_der=b"\x30\x00",
    variables={"ca": "ec", "ski": "00", "http_url": "http://pki.example.com"},
)
TEXTS = {
    "a long attribute type": f"{HEAD}subjectAltName=dirName:dn\n[dn]\n{'a' * 65_000} = x",
    "a long attribute type of points": f"{HEAD}subjectAltName=dirName:dn\n[dn]\n{'a.' * 32_000} = x",
    "many attributes": f"{HEAD}subjectAltName=dirName:dn\n[dn]\n" + "".join(f"{n}.CN = x\n" for n in range(5000)),
    "modifiers": f"{HEAD}1.2.3 = ASN1:{'FORM:ASCII,' * 5900}UTF8:a",
    "bits": f"{HEAD}1.2.3=ASN1:FORMAT:BITLIST,BITSTR:{'1,' * 30_000}1",
    "hexadecimal digits": f"{HEAD}1.2.3=DER:{'00:' * 21_000}z",
    "quotation marks": f"{HEAD}a = " + "'a'" * 20_000,
    "variables": f"{HEAD}a = " + "$ca" * 20_000,
    "comments": "#\n" * 32_000,
    "continued lines": f"{HEAD}a = " + "\\\n" * 32_000,
    "sections": "".join(f"[a{n}]\n" for n in range(8000)),
    "many names": f"{HEAD}subjectAltName=" + ",".join(f"DNS:a{n}" for n in range(8000)),
    "a section in itself": f"{HEAD}1.2.3=ASN1:SEQUENCE:s\n[s]\n" + "".join(f"a{n}=SEQUENCE:s\n" for n in range(1000)),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_cost(text: str) -> None:
    """A name of 64 KB in a section was searched once for each of its characters: many seconds."""

    def read() -> None:
        with contextlib.suppress(BadTemplate):
            parse(text[:MAXIMUM_TEXT]).extensions(CONTEXT)

    assert cost_in_signatures(read) < BATCH


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("CN", ("CN", False)),
        ("0.OU", ("OU", False)),
        ("+CN", ("CN", True)),
        ("1.+CN", ("CN", True)),
        ("a:b.CN", ("b.CN", False)),
        ("CN.", ("CN.", False)),
        (".CN", ("CN", False)),
        ("a,,CN", (",CN", False)),
        ("a..", (".", False)),
    ],
)
def test_what_a_key_names(key: str, expected: tuple[str, bool]) -> None:
    """Up to the first separator that something follows."""
    assert attribute_type(key) == expected
