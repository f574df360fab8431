"""OPS-7: profiles in configurations of cfssl."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pikachu.core.errors import BadTemplate
from pikachu.x509.ca_profiles import CAProfile, UnusableProfile, read_cfssl


def profile(fields: dict[str, Any], default: dict[str, Any] | None = None) -> CAProfile | UnusableProfile:
    """The one profile of a configuration."""
    signing = {"profiles": {"one": fields}} | ({} if default is None else {"default": default})
    *_, found = read_cfssl(json.dumps({"signing": signing}))
    return found


def test_profile() -> None:
    """Usages, addresses and policies are extensions; the default profile gives what is missing."""
    fields = {
        "usages": ["signing", "key encipherment", "server auth", "S/MIME"],
        "ocsp_url": "http://ocsp.example.com",
        "issuer_urls": ["http://ca.example.com/ca.cer"],
        "ocsp_no_check": True,
        "policies": [{"ID": "1.2.3", "Qualifiers": [{"type": "id-qt-cps", "value": "http://example.com"}]}, "1.2.4"],
        "name_whitelist": "^.*$",
    }
    found = profile(fields, {"expiry": "2160h30m", "crl_url": "http://crl.example.com/x.crl", "usages": ["signing"]})
    assert isinstance(found, CAProfile)
    assert (found.name, found.days, found.copies_names) == ("one", 90, True)
    assert found.text.splitlines() == [
        "[ v3_ext ]",
        "basicConstraints = critical, CA:FALSE",
        "keyUsage = critical, digitalSignature, keyEncipherment",
        "extendedKeyUsage = serverAuth, emailProtection",
        "authorityInfoAccess = OCSP;URI:http://ocsp.example.com, caIssuers;URI:http://ca.example.com/ca.cer",
        "crlDistributionPoints = URI:http://crl.example.com/x.crl",
        "noCheck = ignored",
        "certificatePolicies = @policy_0, 1.2.4",
        "",
        "[ policy_0 ]",
        "policyIdentifier = 1.2.3",
        "CPS.1 = http://example.com",
    ]
    assert [note.split(" ")[0] for note in found.notes] == ["name_whitelist"]


@pytest.mark.parametrize(
    ("constraint", "text"),
    [
        ({"is_ca": True}, "CA:TRUE"),
        ({"is_ca": True, "max_path_len": 0}, "CA:TRUE"),
        ({"is_ca": True, "max_path_len": 0, "max_path_len_zero": True}, "CA:TRUE, pathlen:0"),
        ({"is_ca": True, "max_path_len": 2}, "CA:TRUE, pathlen:2"),
        ({"is_ca": False, "max_path_len": 2}, "CA:FALSE"),
    ],
)
def test_ca_constraints(constraint: dict[str, Any], text: str) -> None:
    """A path length of 0 counts only where it says so, as in cfssl."""
    found = profile({"usages": ["signing"], "expiry": "24h", "ca_constraint": constraint})
    assert isinstance(found, CAProfile)
    assert f"basicConstraints = critical, {text}\n" in found.text


@pytest.mark.parametrize(
    ("whitelist", "copies"),
    [(None, True), ({}, False), ({"Subject": True}, False), ({"DNSNames": True}, True), ({"uris": True}, True)],
)
def test_copied_names(whitelist: dict[str, bool] | None, copies: bool) -> None:
    """Without a list, everything is copied."""
    listed = {} if whitelist is None else {"csr_whitelist": whitelist}
    found = profile({"usages": ["signing"], "expiry": "24h", **listed})
    assert isinstance(found, CAProfile)
    assert found.copies_names is copies


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "no usages"),
        ({"usages": ["flying"]}, "flying"),
        ({"usages": "signing"}, "usages is no list"),
        ({"usages": ["signing"], "expiry": "1d"}, "no duration"),
        ({"usages": ["signing"], "expiry": 8760}, "no duration"),
        ({"usages": ["signing"], "expiry": "23h59m"}, "for a day at least"),
        ({"usages": ["signing"], "expiry": "999999999999h"}, "not from 1 to 36500"),
        ({"usages": ["signing"], "remote": "other"}, "remote"),
        ({"usages": ["signing"], "crl_url": "http://a\nkeyUsage = keyCertSign"}, "can't be written"),
        ({"usages": ["signing"], "ocsp_url": "http://a,CA:TRUE"}, "can't be written"),
        ({"usages": ["signing"], "issuer_urls": [{}]}, "can't be written"),
        ({"usages": ["signing"], "policies": ["1.2\n[ x ]"]}, "can't be written"),
        ({"usages": ["signing"], "policies": ["no oid"]}, "can't be written"),
        (
            {"usages": ["signing"], "policies": [{"id": "1.2.3", "qualifiers": [{"type": "id-qt-unotice"}]}]},
            "id-qt-cps",
        ),
    ],
)
def test_unusable_ones(fields: dict[str, Any], reason: str) -> None:
    """Each says why; no value gets out of its line."""
    found = profile({"expiry": "24h", **fields})
    assert isinstance(found, UnusableProfile)
    assert reason in found.reason


def test_other_files() -> None:
    """JSON of another kind has no profiles; a damaged file is an error."""
    for text in ("[]", "{}", '{"signing": 1}', '{"CN": "x"}', "1"):
        assert read_cfssl(text) == []
    for text in ("{", "[" * 100_000, '{"signing": {"profiles": []}, "x"', '{"signing": {"default": 1}}'):
        with pytest.raises(BadTemplate):
            read_cfssl(text)
