"""OPS-7: profiles of easy-rsa."""

from __future__ import annotations

import pytest

from pikachu.x509.ca_profiles import CAProfile, UnusableProfile, read_easy_rsa_type, read_easy_rsa_variables

SERVER = "basicConstraints = CA:FALSE\nextendedKeyUsage = serverAuth\n"


def test_variables() -> None:
    """As a shell reads them, where it computes nothing."""
    text = """\
# set_var EASYRSA_CERT_EXPIRE 1
set_var EASYRSA_CERT_EXPIRE	90   # days
 set_var EASYRSA_REQ_ORG "An Organization"
set_var EASYRSA_REQ_CITY 'A City'
set_var EASYRSA_PKI "$PWD/pki"
set_var EASYRSA_REQ_OU "`id`"
export EASYRSA_DN=org
"""
    assert read_easy_rsa_variables(text) == {
        "EASYRSA_CERT_EXPIRE": "90",
        "EASYRSA_REQ_ORG": "An Organization",
        "EASYRSA_REQ_CITY": "A City",
    }


def test_type() -> None:
    """With COMMON, and the days of vars or easy-rsa's own."""
    found = read_easy_rsa_type("server", SERVER, "crlDistributionPoints = URI:http://example.com/ca.crl\n", {})
    assert isinstance(found, CAProfile)
    assert (found.name, found.days, found.copies_names) == ("server", 825, True)
    assert "825 days" in found.notes[0]
    assert found.text.splitlines() == [
        "[ v3_ext ]",
        "crlDistributionPoints = URI:http://example.com/ca.crl",
        *SERVER.splitlines(),
    ]
    found = read_easy_rsa_type("server", SERVER, "", {"EASYRSA_CERT_EXPIRE": "30"})
    assert isinstance(found, CAProfile)
    assert (found.days, found.notes) == (30, ())


@pytest.mark.parametrize(
    ("text", "days", "reason"),
    [
        (SERVER, "many", "no number of days"),
        (SERVER, "0", "not from 1 to 36500"),
        ("keyUsage = nothing\n", "30", "line 2"),
        ("subjectAltName = DNS:${ENV::EASYRSA_REALM}\n", "30", "ENV::EASYRSA_REALM"),
        ("#!/bin/sh\necho\n", "30", "line 3"),
    ],
)
def test_unusable_ones(text: str, days: str, reason: str) -> None:
    """The reason is said; nothing of the text is run."""
    found = read_easy_rsa_type("x", text, "", {"EASYRSA_CERT_EXPIRE": days})
    assert isinstance(found, UnusableProfile)
    assert reason in found.reason
