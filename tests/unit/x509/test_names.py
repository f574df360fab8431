"""Distinguished names."""

from __future__ import annotations

import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st

from pikachu.core.errors import BadCSR, MalformedRequest, RequestError
from pikachu.x509 import der
from pikachu.x509.names import build_name, name_from_text, names_equal, parse_name
from tests.support.interop import require
from tests.support.reference_work import BATCH, costs_at_most
from tests.unit.x509.requests import KEY

CN, C, O, EMAIL = "2.5.4.3", "2.5.4.6", "2.5.4.10", "1.2.840.113549.1.9.1"  # noqa: E741 - the attribute's name


def name(*attributes: tuple[str, bytes]) -> bytes:
    return der.sequence(*(der.set_of((der.sequence(der.oid(oid), value),)) for oid, value in attributes))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("CN=x,O=y,C=DE", "CN=x,O=y,C=DE"),
        ("C=DE, O=y, CN=x", "CN=x,O=y,C=DE"),
        ("/C=DE/O=y/CN=x", "CN=x,O=y,C=DE"),
        ("/C=DE/O=a\\/b, c/CN=x", "CN=x,O=a/b\\, c,C=DE"),
        ("CN=a\\, b\\+c", "CN=a\\, b\\+c"),
        ("CN=\\C3\\A4", "CN=ä"),
        ("CN=\\ x\\ ", "CN=\\ x\\ "),
        ("CN = x ; O= y ", "CN=x,O=y"),
        ("cn=x+UID=7", "CN=x+UID=7"),
        ("CN=\\#x", "CN=\\#x"),
        ("CN=a=b", "CN=a=b"),
        ("commonName=x,emailAddress=a@example.com", "CN=x,emailAddress=a@example.com"),
        ("DC=www,DC=example,DC=com", "DC=www,DC=example,DC=com"),
        ("2.5.4.3=x", "CN=x"),
        ("OID.2.5.4.3=x", "CN=x"),
        ("1.2.3.4=x", "1.2.3.4=#0c0178"),
        ("CN=<script>", "CN=\\<script\\>"),
        ("CN=a\u202eb", "CN=a\\E2\\80\\AEb"),
        ("CN=a\u200bb", "CN=a\\E2\\80\\8Bb"),
        ("", ""),
        ("/", ""),
    ],
)
def test_text(text: str, shown: str) -> None:
    """Names as people write them, and the text shown, which can't deceive."""
    parsed = parse_name(name_from_text(text))
    assert parsed.text == shown
    assert parsed.text.isprintable()
    assert parsed.is_empty is (text in ("", "/"))


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "CN",
        "=x",
        "CN=x,",
        ",CN=x",
        "Foo=x",
        "1.=x",
        "9.9.9=x",
        "1.2..3=x",
        "CN=x\\",
        "CN=\\FF",
        "//",
        "/CN=x/",
        "CN=x" * 3000,
    ],
)
def test_text_refused(text: str) -> None:
    with pytest.raises(MalformedRequest):
        name_from_text(text)


@pytest.mark.parametrize(
    "text", ["C=D", "C=DÉ", "C=12", "CN=", "CN=" + "x" * 65, "emailAddress=ä@b", "CN=a\\00", "serialNumber=a@"]
)
def test_values_refused(text: str) -> None:
    """Limits, alphabets, NUL."""
    with pytest.raises(BadCSR):
        name_from_text(text)


@pytest.mark.interop
@pytest.mark.parametrize(
    "text",
    ["/C=DE/O=Example/CN=x", "/C=DE/ST=a/L=b/O=c/OU=d/CN=e/emailAddress=f@example.com", "/DC=com/DC=example/CN=x"],
)
def test_the_encoding_is_openssl_s(text: str) -> None:
    """PrintableString for C, IA5String for addresses, UTF8String for the rest."""
    require("openssl")
    made = subprocess.run(
        ["openssl", "req", "-new", "-newkey", "ed25519", "-nodes", "-keyout", "/dev/null", "-subj", text],
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert name_from_text(text) == x509.load_pem_x509_csr(made.stdout).subject.public_bytes()


def test_accessors() -> None:
    parsed = parse_name(build_name([(C, "DE"), (CN, "a"), (CN, "b")]))
    assert parsed.common_name == "b"
    assert parsed.values(CN) == ("a", "b")
    assert parsed.values(O) == ()
    assert [rdn[0].text for rdn in parsed.rdns] == ["C=DE", "CN=a", "CN=b"]


@pytest.mark.parametrize(
    "attribute",
    [
        (CN, der.tlv(der.BMP_STRING, b"\0a\0")),
        (CN, der.tlv(der.BMP_STRING, b"\xdc\0")),
        (CN, der.tlv(der.UNIVERSAL_STRING, b"\0\0a")),
        (CN, der.tlv(der.UNIVERSAL_STRING, b"\0\0\xd8\0")),
        (CN, der.tlv(der.T61_STRING, b"a\x00")),
        (CN, der.tlv(der.T61_STRING, b"a\x85")),
        (CN, der.tlv(der.IA5_STRING, b"\xe4")),
        (CN, der.tlv(der.PRINTABLE_STRING, b"a@b")),
        (CN, der.tlv(der.UTF8_STRING, b"\xed\xa0\x80")),
        (CN, der.tlv(der.UTF8_STRING, b"\xc0\x80")),
        (CN, der.tlv(der.UTF8_STRING, b"a\x7f")),
        (CN, der.null()),
        (EMAIL, der.utf8_string("a@example.com")),
    ],
)
def test_strings_that_are_not_what_their_type_says(attribute: tuple[str, bytes]) -> None:
    """Bytes outside the type's alphabet or encoding."""
    with pytest.raises(BadCSR):
        parse_name(name(attribute))


@pytest.mark.parametrize(
    "value",
    [
        der.utf8_string("Ä b"),
        der.tlv(der.BMP_STRING, "Ä b".encode("utf-16-be")),
        der.tlv(der.UNIVERSAL_STRING, "Ä b".encode("utf-32-be")),
        der.tlv(der.T61_STRING, "Ä b".encode("latin-1")),
    ],
)
def test_every_string_type_is_read(value: bytes) -> None:
    assert parse_name(name((CN, value))).text == "CN=Ä b"


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        ("CN=a", "CN=a", True),
        ("CN=Device One", "CN=device  ONE", True),
        ("CN=\\ a", "CN=a", True),
        ("CN=Straße", "CN=STRASSE", True),
        ("CN=a\u0308", "CN=ä", True),
        ("CN=a+UID=1", "UID=1+CN=A", True),
        ("CN=a", "CN=b", False),
        ("CN=a,O=b", "O=b,CN=a", False),
        ("CN=a,O=b", "CN=a+O=b", False),
        ("CN=a", "CN=a,C=DE", False),
        ("CN=ab", "CN=a b", False),
        ("1.2.3=a", "1.2.3=a", True),
        ("1.2.3=a", "1.2.4=a", False),
    ],
)
def test_comparison(first: str, second: str, equal: bool) -> None:
    """RFC 5280 section 7.1."""
    assert names_equal(name_from_text(first), name_from_text(second)) is equal


def test_comparison_over_string_types() -> None:
    """PrintableString and UTF8String of one text are equal."""
    assert names_equal(name((CN, der.printable_string("a"))), name((CN, der.utf8_string("A"))))


values = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=64)


@given(st.lists(st.tuples(st.sampled_from([CN, O, "2.5.4.11", "1.2.3.4"]), values), max_size=6))
def test_build_and_parse(attributes: list[tuple[str, str]]) -> None:
    """decode(encode(m)) == m."""
    parsed = parse_name(build_name(attributes))
    assert [(a.oid, a.value) for rdn in parsed.rdns for a in rdn] == attributes
    assert parsed.text.isprintable()


@given(st.lists(st.tuples(st.sampled_from([CN, O, "2.5.4.11"]), values), max_size=6))
def test_text_is_read_back(attributes: list[tuple[str, str]]) -> None:
    """The displayed text parses back to the same bytes."""
    encoded = build_name(attributes)
    assert name_from_text(parse_name(encoded).text) == encoded


@given(values.filter(lambda value: len(value.encode("utf-8")) <= 64))
def test_text_agrees_with_cryptography(value: str) -> None:
    encoded = build_name([(CN, value)])
    builder = x509.CertificateSigningRequestBuilder(
        x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, value)])
    )
    assert builder.sign(KEY, hashes.SHA256()).subject.public_bytes() == encoded


@given(st.text(max_size=60) | st.text("CNO=,+\\ 0a/;#", max_size=30))
def test_any_text_gives_only_our_errors(text: str) -> None:
    try:
        encoded = name_from_text(text)
    except RequestError:
        return
    assert parse_name(encoded).text.isprintable()


@given(st.binary(max_size=100))
def test_any_bytes_give_only_our_errors(data: bytes) -> None:
    for candidate in (data, der.sequence(data), name((CN, data))):
        try:
            assert parse_name(candidate).text.isprintable()
        except RequestError:
            continue


def test_errors_stay_short() -> None:
    """An unknown attribute type can be as long as the request."""
    oid = der.tlv(der.OBJECT_IDENTIFIER, b"\x2a" + b"\x01" * 5000)
    with pytest.raises(MalformedRequest) as caught:
        parse_name(der.sequence(der.set_of((der.sequence(oid, der.utf8_string("")),))))
    assert len(caught.value.public) < 200


def test_large_names_take_no_time() -> None:
    with costs_at_most(4 * BATCH):
        with pytest.raises(BadCSR):
            parse_name(name(*((CN, der.utf8_string("a")),) * 20000))
        with pytest.raises(BadCSR):
            parse_name(name((CN, der.utf8_string("\u202e" * 200_000))))
