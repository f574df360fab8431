"""TPL-1, TPL-2: the extensions of a valid text, their dependence on issuer and key, and the cost."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pikachu.core.errors import BadTemplate, MalformedRequest
from pikachu.x509 import der
from pikachu.x509.extension import Extension
from pikachu.x509.template import ExtensionContext, certification_request_info, parse
from pikachu.x509.template.configuration import MAXIMUM_TEXT
from pikachu.x509.template.defaults import DEFAULT_SERVER_EXTENSIONS
from tests.support.reference_work import BATCH, costs_at_most
from tests.support.template_texts import EXTENSIONS, REQUESTS, WHOLE_TEXTS

_SPKI = der.sequence(der.sequence(der.oid("1.3.101.112")), der.bit_string(bytes(32)))
_EMPTY = b"\x30\x00"
_URLS = (
    "[v3_ext]\nauthorityInfoAccess=OCSP;URI:${http_url}/ocsp,caIssuers;URI:$http_url/ca/${ca}.cer\n"
    "crlDistributionPoints=URI:${http_url}/crl/${ski}.crl\nnsComment=x\n"
)


def _context(**variables: str) -> ExtensionContext:
    return ExtensionContext(
        subject_spki=_SPKI,
        subject_der=_EMPTY,
        issuer_key_identifier=b"\x01" * 20,
        issuer_issuer_der=_EMPTY,
        issuer_serial=5,
        variables=variables,
    )


def _ext(text: str, context: ExtensionContext | None = None) -> dict[str, Extension]:
    return {e.oid: e for e in parse(f"[ v3_ext ]\n{text}\n").extensions(context or _context())}


def test_the_usages_are_the_sections() -> None:
    """TPL-1: req, ext or both."""
    request = "[req]\nprompt=no\ndistinguished_name=d\n[d]\nCN=x\n"
    assert parse(request).usages == {"req"}
    assert parse("[v3_ext]\n").usages == {"ext"}
    assert parse(request + "[v3_ext]\nnoCheck=\n").usages == {"req", "ext"}
    assert parse("noCheck = ignored").usages == {"ext"}


def test_a_text_for_requests_gives_no_extensions_of_certificates() -> None:
    """TPL-1: and the other way round, with an error that says what is missing."""
    assert parse("[req]\nprompt=no\ndistinguished_name=d\n[d]\nCN=x\n").extensions(_context()) == ()
    with pytest.raises(BadTemplate, match="no section"):
        parse("[v3_ext]\n").request()


def test_the_default_text_fits_every_kind_of_key() -> None:
    """No keyUsage in it, since the CA adds it by the key's type."""
    found = {e.oid: e for e in parse(DEFAULT_SERVER_EXTENSIONS).extensions(_context())}
    assert list(found) == ["2.5.29.19", "2.5.29.37", "2.5.29.14", "2.5.29.35"]
    assert found["2.5.29.19"] == Extension("2.5.29.19", True, _EMPTY)
    assert found["2.5.29.35"].value == bytes.fromhex("30168014") + b"\x01" * 20


def test_the_order_is_that_of_the_text() -> None:
    """TPL-2: also where some extensions depend on the certificate."""
    found = _ext("nsComment=x\nsubjectKeyIdentifier=hash\nbasicConstraints=CA:FALSE")
    assert list(found) == ["2.16.840.1.113730.1.13", "2.5.29.14", "2.5.29.19"]


def test_variables_of_the_context() -> None:
    """${ca}, ${ski} and ${http_url}; each issuer has its own."""
    profile = parse(_URLS)
    assert profile.variables == {"ca", "ski", "http_url"}
    for name in ("ec", "rsa"):
        found = profile.extensions(_context(ca=name, ski="ab", http_url="http://x"))
        assert f"http://x/ca/{name}.cer".encode() in found[0].value
        assert b"http://x/crl/ab.crl" in found[1].value


def test_a_variable_without_a_value_is_refused_where_it_is_used() -> None:
    """Without public_url there is no ${http_url}; lines that do without it still work."""
    with pytest.raises(BadTemplate, match='line 2: the variable "http_url" has no value in this installation'):
        parse(_URLS).extensions(_context(ca="ec", ski="ab", http_url=""))
    both = "[req]\nprompt=no\ndistinguished_name=d\n[d]\nCN=x\n" + _URLS
    assert parse(both).request().subject_der
    indirect = "base = ${http_url}/x\n[v3_ext]\nnsBaseUrl = $base\n"
    with pytest.raises(BadTemplate, match=r"line 3: .*http_url"):
        parse(indirect).extensions(_context())


def test_the_text_may_set_the_variables_itself() -> None:
    """TPL-2: then it does not depend on the context."""
    profile = parse("ca = mine\n" + _URLS.replace("${http_url}", "http://y").replace("$http_url", "http://y"))
    assert profile.variables == {"ski"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("keyid", "3003800101"),
        ("issuer", "3009a104a402300082 0105"),
        ("keyid,issuer", "3003800101"),
        ("keyid,issuer:always", "300c800101a104a4023000820105"),
    ],
)
def test_authority_key_identifiers(text: str, expected: str) -> None:
    """TPL-2: issuer and serial are the issuer's issuer's (RFC 5280 section 4.2.1.1)."""
    context = ExtensionContext(_SPKI, _EMPTY, b"\x01", _EMPTY, 5)
    assert _ext(f"authorityKeyIdentifier = {text}", context)["2.5.29.35"].value == bytes.fromhex(expected)


def test_an_issuer_without_a_key_identifier() -> None:
    """TPL-2: keyid gives way to issuer, keyid:always is refused."""
    context = ExtensionContext(_SPKI, _EMPTY, issuer_serial=5)
    assert _ext("authorityKeyIdentifier = keyid", context) == {}
    assert _ext("authorityKeyIdentifier = keyid,issuer", context)["2.5.29.35"].value.endswith(b"\x82\x01\x05")
    with pytest.raises(BadTemplate, match="line 2: authorityKeyIdentifier: the issuing CA's certificate"):
        _ext("authorityKeyIdentifier = keyid:always", context)


@pytest.mark.parametrize("text", ["subjectAltName = email:copy", "issuerAltName = issuer:copy"])
def test_nothing_to_copy_leaves_the_extension_out(text: str) -> None:
    """TPL-2: GeneralNames has at least one name (RFC 5280 section 4.2.1.6)."""
    assert _ext(text) == {}


def test_key_identifiers_are_those_of_the_key() -> None:
    """TPL-2: SHA-1 of the BIT STRING without its unused bits (RFC 5280 section 4.2.1.2)."""
    value = _ext("subjectKeyIdentifier = hash")["2.5.29.14"].value
    assert value.hex() == "0414de8a847bff8c343d69b853a215e6ee775ef2ef96"


def test_request_templates_say_digest_and_attributes() -> None:
    """TPL-1: default_md, attributes and challengePassword; the secret is not in the repr."""
    template = parse(
        "[req]\nprompt=no\ndefault_md=SHA384\ndistinguished_name=d\nattributes=a\n[d]\nCN=x\n[a]\nchallengePassword=geheim\n"
    ).request()
    assert template.digest == "sha384"
    assert template.attributes == (("1.2.840.113549.1.9.7", der.utf8_string("geheim")),)
    assert "geheim" not in repr(template)
    assert b"geheim" in certification_request_info(template, _SPKI)


def test_moved_addresses_leave_the_subject() -> None:
    """TPL-2: email:move, also out of an RDN with more than one attribute; email:copy leaves them there."""
    text = (
        "[req]\nprompt=no\ndistinguished_name=d\nreq_extensions=r\n"
        "[d]\nCN=x\n+emailAddress=a@b.c\n1.emailAddress=d@e.f\n[r]\nsubjectAltName=email:move,DNS:y\n"
    )
    san = der.sequence(der.implicit(1, b"a@b.c"), der.implicit(1, b"d@e.f"), der.implicit(2, b"y"))
    for way, subject_rdns in (("move", 1), ("copy", 2)):
        template = parse(text.replace("move", way)).request()
        assert [e.value for e in template.extensions(_SPKI)] == [san]
        parts = der.parse(certification_request_info(template, _SPKI)).sub()
        assert len(parts[1].sub()) == subject_rdns
        assert parts[2].whole == _SPKI
        assert san in parts[3].whole


@pytest.mark.parametrize("name", ["subjectKeyIdentifier", "authorityKeyIdentifier"])
def test_none_leaves_an_identifier_out(name: str) -> None:
    """TPL-2: as OpenSSL does."""
    assert _ext(f"{name} = none") == {}


def test_a_key_that_is_none_is_refused() -> None:
    """TPL-2: an invalid public key gives MalformedRequest."""
    with pytest.raises(MalformedRequest):
        _ext("subjectKeyIdentifier = hash", ExtensionContext(_EMPTY, _EMPTY))


def test_many_issuers_do_not_fill_the_memory() -> None:
    """TPL-2: extensions are kept for each issuer, up to a bound."""
    profile = parse(_URLS)
    for number in range(200):
        found = profile.extensions(_context(ca=f"ca{number}", ski="ab", http_url="http://x"))
        assert f"/ca/ca{number}.cer".encode() in found[0].value


def test_requests_may_use_variables() -> None:
    """TPL-1: where the caller gives them."""
    profile = parse("[req]\nprompt=no\ndistinguished_name=d\n[d]\nCN=${ca}\n")
    assert der.utf8_string("ec") in profile.request({"ca": "ec"}).subject_der
    with pytest.raises(BadTemplate, match='line 5: the variable "ca" has no value'):
        profile.request()


def test_keys_of_req_that_decide_nothing_are_accepted() -> None:
    """Other programs' keys stay."""
    keys = "default_bits=1\ndefault_days=9\nx509_extensions=v3_ca\nencrypt_key=no\noid_section=o\nmy_own=1\n"
    assert parse(f"[req]\n{keys}prompt=no\ndistinguished_name=d\n[d]\nCN=x\n").usages == {"req"}


def test_evaluation_is_quick() -> None:
    """TPL-2: a policy is read once; a certificate costs microseconds."""
    profile = parse(DEFAULT_SERVER_EXTENSIONS + _URLS.replace("[v3_ext]\n", ""))
    context = _context(ca="ec", ski="ab", http_url="http://x")
    profile.extensions(context)
    best = min(_seconds(lambda: profile.extensions(context)) for _ in range(20))
    assert best < 0.0005


def _seconds(call: object) -> float:
    assert callable(call)
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


_ALL = [f"[v3_ext]\n{text}\n" for text in EXTENSIONS] + WHOLE_TEXTS + REQUESTS
_PIECES = st.sampled_from(
    [
        *(
            "[v3_ext]",
            "[req]",
            "[ a ]",
            "\n",
            " ",
            "=",
            ",",
            ":",
            ";",
            "@a",
            "$ca",
            "${",
            "}",
            "\\",
            '"',
            "'",
            "#",
            "critical,",
        ),
        *(
            "keyUsage",
            "subjectAltName",
            "DNS",
            "IP",
            "dirName",
            "otherName",
            "1.2.3",
            "ASN1",
            "DER",
            "SEQ",
            "EXP",
            "CN",
        ),
        *(
            "authorityKeyIdentifier",
            "certificatePolicies",
            "crlDistributionPoints",
            "nameConstraints",
            "basicConstraints",
        ),
        *("permitted", "policyIdentifier", "fullname", "prompt=no\n", "distinguished_name=a\n", "req_extensions=a\n"),
        *("attributes=a\n", "0102", "::", "hash", "email:copy", "1", "-", "0x", "ü", "\x00", "\ud800", "\r", "%", "."),
    ]
)


def _is_bounded(text: str) -> None:
    with costs_at_most(20 * BATCH), contextlib.suppress(BadTemplate):
        profile = parse(text)
        profile.extensions(_context(ca="ec", ski="ab", http_url="http://x"))
        if "req" in profile.usages:
            certification_request_info(profile.request({"ca": "ec"}), _SPKI)


@settings(deadline=None, max_examples=300)
@given(st.lists(_PIECES, max_size=40).map("".join))
def test_any_pieces_give_a_result_or_bad_template(text: str) -> None:
    """TPL-2: nothing else is raised."""
    _is_bounded("[v3_ext]\n" + text)
    _is_bounded(text)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_any_changed_text_gives_a_result_or_bad_template(data: st.DataObject) -> None:
    """TPL-2: texts that are nearly right."""
    text = data.draw(st.sampled_from(_ALL))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 5)))
        text = text[:start] + data.draw(st.one_of(_PIECES, st.text(max_size=3))) + text[end:]
    _is_bounded(text)


@settings(deadline=None, max_examples=100)
@given(st.text())
def test_any_text_gives_a_result_or_bad_template(text: str) -> None:
    """TPL-2: whatever it is."""
    _is_bounded(text)


@pytest.mark.parametrize(
    "piece", ["[", "a=$a\n", "\\", "'", "a", "[a]\n", "=", ",", "x=1,\n", "#\n", "\\\n", "$", "a=\\\n", "é"]
)
def test_long_texts_are_read_in_linear_time(piece: str) -> None:
    """TPL-2: up to the bound of 64 KiB."""
    count = MAXIMUM_TEXT // len(piece.encode())
    for before in ("", "[v3_ext]\nsubjectAltName=", "[v3_ext]\nnsComment='"):
        _is_bounded((before + piece * count)[: MAXIMUM_TEXT // len(piece.encode()) * len(piece)])


@pytest.mark.parametrize("text", _ALL)
def test_every_text_of_the_table_is_read(text: str) -> None:
    """TPL-2: also where no openssl is there to compare with."""
    profile = parse(text)
    assert profile.usages
    for extension in profile.extensions(_context()):
        assert der.parse(extension.der, der.SEQUENCE)
