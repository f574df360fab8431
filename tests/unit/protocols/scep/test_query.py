"""The URL of a SCEP request and GetCACaps."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.core.errors import MalformedRequest
from pikachu.protocols.scep.query import Operation, SCEPQuery, capabilities, parse_query

DATA = bytes(range(256))  # its base64 has "+", "/" and "="
TEXT = base64.b64encode(DATA)
URL_SAFE = base64.urlsafe_b64encode(DATA)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.replace(b"+", b"%2B").replace(b"/", b"%2F").replace(b"=", b"%3D"),
        TEXT.replace(b"+", b"%2b").replace(b"/", b"%2f").replace(b"=", b"%3d"),
        TEXT.replace(b"+", b" "),
        TEXT.replace(b"+", b"%20"),
        b"%20" + TEXT,
        TEXT.rstrip(b"="),
        b"%0A".join(TEXT[at : at + 64] for at in range(0, len(TEXT), 64)),
        b"%0D%0A".join(TEXT[at : at + 76] for at in range(0, len(TEXT), 76)) + b"%0D%0A",
        b"".join(b"%%%02X" % octet for octet in TEXT),
        URL_SAFE,
        URL_SAFE.rstrip(b"="),
        URL_SAFE.replace(b"-", b"%2D").replace(b"_", b"%5f").replace(b"=", b"%3D"),
        b"%0A".join(URL_SAFE[at : at + 64] for at in range(0, len(URL_SAFE), 64)),
        TEXT.replace(b"+", b"-"),
        TEXT.replace(b"/", b"_"),
    ],
)
def test_base64_in_every_form_that_clients_send(text: bytes) -> None:
    """Escaped or not, with line breaks, spaces for plus signs, without padding, in the URL alphabet (RFC 4648 5)."""
    query = parse_query(b"/scep?operation=PKIOperation&message=" + text)
    assert query.operation is Operation.PKI_OPERATION
    assert query.der() == DATA


@given(st.binary(min_size=1, max_size=200), st.booleans(), st.booleans())
def test_round_trip(data: bytes, padding: bool, url_safe: bool) -> None:
    """Any message."""
    text = base64.urlsafe_b64encode(data) if url_safe else base64.b64encode(data)
    assert SCEPQuery(None, text if padding else text.rstrip(b"=")).der() == data


@pytest.mark.parametrize("text", [b"", b"!!!!", b"AAA$", b"A", b"AAAAA", b"=", b"AA~_", b"AA%00A", b"%FF", b"AA==AA=="])
def test_what_is_not_base64_is_malformed(text: bytes) -> None:
    """No message, or one that is not standard base64."""
    with pytest.raises(MalformedRequest):
        parse_query(b"/scep?operation=PKIOperation&message=" + text).der()
    with pytest.raises(MalformedRequest):
        parse_query(b"/scep?operation=PKIOperation").der()


@pytest.mark.parametrize(
    ("uri", "operation", "message"),
    [
        (b"/scep?operation=GetCACaps", Operation.GET_CA_CAPS, None),
        (b"/scep?operation=getcacaps&message=0", Operation.GET_CA_CAPS, b"0"),
        (b"/scep?OPERATION=GETCACERT&message=CAIdentifier", Operation.GET_CA_CERT, b"CAIdentifier"),
        (b"/scep?message=a%20b%00&operation=GetNextCACert", Operation.GET_NEXT_CA_CERT, b"a b\0"),
        (b"/scep?operation=GetCACert&message=", Operation.GET_CA_CERT, b""),
        (b"/scep?operation=GetCACert&operation=GetCACert", Operation.GET_CA_CERT, None),
        (b"/scep?operation=Get%43ACert&&x=y&=", Operation.GET_CA_CERT, None),
        (b"/scep?operation=PKIOperation&message=a?b=c", Operation.PKI_OPERATION, b"a?b=c"),
        (b"/scep", None, None),
        (b"/scep?", None, None),
        (b"/scep?message=0", None, b"0"),
    ],
)
def test_operations(uri: bytes, operation: Operation | None, message: bytes | None) -> None:
    """The name without case, any identifier of a CA, and no operation at all."""
    assert parse_query(uri) == SCEPQuery(operation, message)


@pytest.mark.parametrize(
    "uri",
    [
        b"/scep?operation=",
        b"/scep?operation=RevokeCert",
        b"/scep?operation=GetCACertChain",
        b"/scep?operation=GetCACert%00",
        b"/scep?operation=GetCACert&operation=GetCACaps",
        b"/scep?operation=PKIOperation&message=AA&message=BB",
        b"/scep?operation=PKIOperation" + b"&x=1" * 1000,
    ],
)
def test_unknown_and_contradicting_parameters(uri: bytes) -> None:
    """Unknown operations, and duplicates that differ."""
    with pytest.raises(MalformedRequest):
        parse_query(uri)


@given(st.binary(max_size=200))
def test_any_uri_gives_only_malformed_request(raw: bytes) -> None:
    """Whatever stands in the request line."""
    try:
        parse_query(b"/scep?" + raw).der()
    except MalformedRequest:
        return


def test_capabilities() -> None:
    """Exact lines, nothing blank, only what is on."""
    everything = b"AES\nDES3\nGetNextCACert\nPOSTPKIOperation\nRenewal\nSHA-1\nSHA-256\nSHA-384\nSHA-512\nSCEPStandard"
    assert capabilities(sha1_3des=True, next_ca=True) == everything
    assert capabilities() == b"AES\nPOSTPKIOperation\nRenewal\nSHA-256\nSHA-384\nSHA-512\nSCEPStandard"
    assert b"SHA-1\n" not in capabilities(next_ca=True)
    assert b"GetNextCACert" not in capabilities(sha1_3des=True)
