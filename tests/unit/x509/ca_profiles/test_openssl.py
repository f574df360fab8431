"""OPS-7: profiles in configurations of ``openssl ca``."""

from __future__ import annotations

import pytest

from pikachu.core.errors import BadTemplate
from pikachu.x509.ca_profiles import CAProfile, UnusableProfile, read_openssl
from pikachu.x509.template import parse

CONFIG = """\
HOME = .
[ ca ]
default_ca = devices
[ devices ]
dir = $ENV::CA_DIR
database = $dir/index.txt
default_days = 90
default_crl_days = 7
x509_extensions = device_ext
copy_extensions = copy
policy = strict
[ plain ]
database = index.txt
default_days = 365
x509_extensions = server_ext
policy = any
[ strict ]
countryName = match
organizationName = match
commonName = supplied
emailAddress = optional
[ any ]
commonName = optional
[ device_ext ]
keyUsage = critical, digitalSignature
subjectAltName = @names
nsComment = "A \\"quoted\\" # comment with \\$"
certificatePolicies = 1.2.3.4, @cps
[ names ]
DNS.1 = device.example.com
dirName = directory
[ directory ]
CN = Directory
[ cps ]
policyIdentifier = 1.2.3.5
CPS.1 = http://example.com/cps
[ server_ext ]
extendedKeyUsage = serverAuth
[ sub_ca ]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
[ crl_ext ]
authorityKeyIdentifier = keyid:always
[ req ]
prompt = no
distinguished_name = dn
req_extensions = requested
[ dn ]
CN = device.example.com
[ requested ]
keyUsage = digitalSignature
"""


def profiles(text: str) -> dict[str, CAProfile | UnusableProfile]:
    """By name; no name stands twice."""
    found = read_openssl(text, "file", {})
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


def test_profiles() -> None:
    """Each CA is a profile; extensions that none has and [ req ] are texts for templates."""
    found = profiles(CONFIG)
    assert list(found) == ["devices", "plain", "sub_ca", "file req"]
    devices, plain, sub_ca, request = found.values()
    assert isinstance(devices, CAProfile)
    assert isinstance(plain, CAProfile)
    assert isinstance(sub_ca, CAProfile)
    assert isinstance(request, CAProfile)
    assert (devices.days, devices.copies_names, devices.matched) == (90, True, ("2.5.4.6", "2.5.4.10"))
    assert [note.split(" ")[0] for note in devices.notes] == ["default_crl_days", "that"]
    assert (plain.days, plain.copies_names, plain.matched, plain.notes) == (365, False, (), ())
    assert sub_ca.days is None
    assert "CA:TRUE" in sub_ca.text
    assert parse(request.text).usages == {"req"}


def test_texts_say_what_the_sections_said() -> None:
    """Sections that are referred to come along, and characters with a meaning are escaped."""
    found = profiles(CONFIG)["devices"]
    assert isinstance(found, CAProfile)
    again = profiles(f"{found.text}[ again ]\ndatabase = x\ndefault_days = 1\nx509_extensions = v3_ext\n")["again"]
    assert isinstance(again, CAProfile)
    assert again.text == found.text
    assert parse(found.text).usages == {"ext"}
    assert '\\"quoted\\" \\# comment with \\$' in found.text
    assert [line for line in found.text.splitlines() if line.startswith("[")] == [
        "[ v3_ext ]",
        "[ names ]",
        "[ cps ]",
        "[ directory ]",
    ]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("x509_extensions = ext", "default_days"),
        ("default_days = many\nx509_extensions = ext", "line 4: there is no number"),
        ("default_days = 0\nx509_extensions = ext", "not from 1 to 36500"),
        ("default_days = 99999\nx509_extensions = ext", "not from 1 to 36500"),
        ("default_days = 30\nx509_extensions = missing", "line 5: there is no section [ missing ]"),
        ("default_days = $ENV::DAYS\nx509_extensions = ext", 'the variable "ENV::DAYS" has no value'),
        ("default_days = 30\nx509_extensions = bad", "line 9"),
    ],
)
def test_unusable_ones_say_why(lines: str, reason: str) -> None:
    """With the line of the file."""
    text = f"[ca]\ndefault_ca = one\n[one]\n{lines}\n[ext]\nkeyUsage = keyAgreement\n[bad]\nkeyUsage = nothing\n"
    found = profiles(text)["one"]
    assert isinstance(found, UnusableProfile)
    assert reason in found.reason


@pytest.mark.parametrize("head", ["", "[ v3_ext ]\n"])
def test_files_of_extensions(head: str) -> None:
    """As for openssl's -extfile: the template has the name of the file."""
    found = profiles(f"{head}keyUsage = digitalSignature\nsubjectAltName = @names\n[ names ]\nDNS.1 = a.example.com\n")
    assert found == {
        "file": CAProfile(
            "file",
            None,
            "[ v3_ext ]\nkeyUsage = digitalSignature\nsubjectAltName = @names\n\n[ names ]\nDNS.1 = a.example.com\n",
        )
    }


def test_control_characters() -> None:
    """Escapes are written again, at the ends of a value as well; other control characters are refused."""
    text = "[e]\nnsComment = \\tC:\\build\\new\\\\root\\t\n"
    found = profiles(text)["e"]
    assert isinstance(found, CAProfile)
    assert found.text == "[ v3_ext ]\nnsComment = \\tC:\\build\\new\\\\root\\t\n"
    assert parse(found.text).usages == {"ext"}
    refused = profiles("[e]\nnsComment = a\\\vb\n")["e"]
    assert isinstance(refused, UnusableProfile)
    assert "control character" in refused.reason


def test_other_files() -> None:
    """A file without profiles gives none; a broken one is an error with its line."""
    assert profiles("[mysqld]\nport = 3306\n") == {}
    for text, line in (
        ("[ca\n", 1),
        ("[ca]\na = 1\na = 2\n", 3),
        (".include /etc/passwd\n", 1),
        ("\nx = $missing\n", 2),
    ):
        with pytest.raises(BadTemplate) as raised:
            profiles(text)
        assert raised.value.line == line


@pytest.mark.parametrize(("copied", "copies"), [("none", False), ("copy", True), ("copyall", True), (None, False)])
def test_copied_extensions(copied: str | None, copies: bool) -> None:
    """Only copyall copies more than a policy does."""
    line = "" if copied is None else f"copy_extensions = {copied}\n"
    found = profiles(f"[ca]\ndefault_ca = one\n[one]\ndefault_days = 1\n{line}")["one"]
    assert isinstance(found, CAProfile)
    assert found.copies_names is copies
    assert bool(found.notes) is (copied == "copyall")
