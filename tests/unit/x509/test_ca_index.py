"""OPS-7: lines of index.txt, and what is none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pikachu.core.errors import MalformedRequest
from pikachu.core.model.certificates import RevocationReason
from pikachu.x509.ca_index import IndexEntry, parse_index_line

END = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
AT = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
REVOKED = "R\t310203040506Z\t240102030405Z{}\t0A1b\tunknown\t/CN=a"
GOOD = {
    "valid": ("V\t310203040506Z\t\t0A1B\tunknown\t/CN=a", IndexEntry(0xA1B, END, None, None)),
    "expired": ("E\t20310203040506Z\t\t0A1B\tunknown\t/CN=a\r\n", IndexEntry(0xA1B, END, None, None)),
    "a tab in the subject": ("V\t310203040506Z\t\t0A1B\tunknown\t/CN=a\\\tb", IndexEntry(0xA1B, END, None, None)),
    "twentieth century": (
        "E\t500203040506Z\t\t01\tunknown\t/CN=a",
        IndexEntry(1, datetime(1950, 2, 3, 4, 5, 6, tzinfo=UTC), None, None),
    ),
    "four digits at revocation": (
        REVOKED.format("").replace("240102", "20240102"),
        IndexEntry(0xA1B, END, AT, RevocationReason.UNSPECIFIED),
    ),
    **{
        text: (REVOKED.format(text), IndexEntry(0xA1B, END, AT, reason))
        for text, reason in {
            "": RevocationReason.UNSPECIFIED,
            ",keyCompromise": RevocationReason.KEY_COMPROMISE,
            ",CACompromise": RevocationReason.CA_COMPROMISE,
            ",certificateHold": RevocationReason.CERTIFICATE_HOLD,
            ",holdInstruction,1.2.840.10040.2.1": RevocationReason.CERTIFICATE_HOLD,
            ",keyTime,20240101000000Z": RevocationReason.KEY_COMPROMISE,
            ",CAkeyTime,20240101000000Z": RevocationReason.CA_COMPROMISE,
            ",removeFromCRL": RevocationReason.UNSPECIFIED,
        }.items()
    },
    "empty": ("\n", None),
    "comment": ("# V\t1", None),
}
BAD = {
    "few fields": "V\t310203040506Z\t\t01\tunknown",
    "many fields": "V\t310203040506Z\t\t01\tunknown\t/CN=a\tb",
    "another status": "X\t310203040506Z\t\t01\tunknown\t/CN=a",
    "valid and revoked": "V\t310203040506Z\t240102030405Z\t01\tunknown\t/CN=a",
    "revoked at no time": "R\t310203040506Z\t\t01\tunknown\t/CN=a",
    "another reason": REVOKED.format(",because"),
    "no serial": "V\t310203040506Z\t\t\tunknown\t/CN=a",
    "serial 0": "V\t310203040506Z\t\t00\tunknown\t/CN=a",
    "a negative serial": "V\t310203040506Z\t\t-01\tunknown\t/CN=a",
    "a long serial": f"V\t310203040506Z\t\t{'1' * 43}\tunknown\t/CN=a",
    "month 13": "V\t311303040506Z\t\t01\tunknown\t/CN=a",
    "year 1": "V\t00010203040506Z\t\t01\tunknown\t/CN=a",
    "no Z": "V\t310203040506\t\t01\tunknown\t/CN=a",
    "digits of another script": "V\t31020304050\u0666Z\t\t01\tunknown\t/CN=a",
}


@pytest.mark.parametrize("name", GOOD)
def test_lines(name: str) -> None:
    """Each form that OpenSSL has written."""
    line, expected = GOOD[name]
    assert parse_index_line(line) == expected


@pytest.mark.parametrize("name", BAD)
def test_no_lines(name: str) -> None:
    """Anything else is refused, not guessed."""
    with pytest.raises(MalformedRequest):
        parse_index_line(BAD[name])
