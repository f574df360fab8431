"""Commands for devices whose challenge password is bound to a name (ISS-1)."""

from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path

import pytest

from pikachu.core.model.people import BoundNames
from pikachu.web.ui.client_commands import Location
from pikachu.web.ui.device_commands import Enrollment, request_configuration, ways
from pikachu.x509.bound_names import read_bound_names
from pikachu.x509.csr import decode_csr_input, parse_csr
from tests.support.interop import require

CHALLENGE = "0123456789ABCDEF0123456789ABCDEF"
PLACE = Location(
    http="http://ca.example.com:8080",
    scep="",
    https="https://ca.example.com:8443",
    trusted_https="",
    account="alice",
    issuer="ec",
    issuers=("ec", "rsa"),
    scep_issuer="rsa",
    scep_ra=False,
    est=True,
    ocsp=True,
    manufacturers=False,
)
NAMES = {
    "host": ("CN=pump.example.com", ["DNS:pump.example.com", "IP:192.0.2.1", "IP:2001:db8::1"]),
    "many attributes": ("CN=pump 7,OU=Lab,OU=Second,O=Example\\, Inc.,L=Köln,C=DE,DC=example,DC=com", []),
    "several in one": ("CN=a+serialNumber=17,O=Example", ["email:a@example.com"]),
    "shell and configuration": (
        "CN=$(id) ${ENV::HOME} `id` 'a' \\\"b\\\" \\#c \\; \\\\d,O=\\ x",
        ["URI:urn:a:$b,c#d;'"],
    ),
    "end of the text": ("CN=END", ["DNS:end"]),
}


def names_of(kind: str) -> BoundNames:
    names = read_bound_names(*NAMES[kind])
    assert names is not None
    return names


def command_texts(kind: str, **labels: str) -> dict[str, list[str]]:
    found = ways(PLACE, Enrollment(names_of(kind), CHALLENGE, **labels), est=True, scep=True)
    return {way.name: [command.text for command in way.commands] for way in found}


@pytest.mark.interop
@pytest.mark.parametrize("kind", NAMES)
def test_openssl_creates_the_csr(kind: str, tmp_path: Path) -> None:
    """It has exactly the names and the challenge password, whatever characters are in the names."""
    require("openssl", "bash")
    text = command_texts(kind)["curl"][0]
    done = subprocess.run(["bash", "-ec", text], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (text, done.stderr)
    csr = parse_csr(decode_csr_input((tmp_path / "device.csr").read_bytes()))
    names = names_of(kind)
    assert csr.subject_der == names.subject_der
    assert tuple(name.text for name in csr.names) == names.sans
    assert csr.challenge_password == CHALLENGE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["device.csr", "device.key"]


def test_every_program() -> None:
    """Each program that devices use, with the name; a label stands in the paths."""
    found = command_texts("host", est_label="my policy", scep_label="my policy")
    assert set(found) == {"trust", "curl", "estclient", "powershell", "sscep", "pki-scep"}
    assert "pki-est" in command_texts("host")
    assert "/.well-known/est/my%20policy/simpleenroll" in found["curl"][1]
    assert "-aps 'my policy'" in found["estclient"][1]
    assert "/scep/my%20policy" in found["sscep"][1]
    assert '--dn "CN=pump.example.com" --san pump.example.com --san 192.0.2.1' in found["pki-scep"][0]
    # Its options can't hold these names in every shell.
    assert "pki-scep" not in command_texts("shell and configuration")


def test_powershell_has_the_names_as_bytes() -> None:
    """No character of a name can end a string of the script."""
    names = names_of("shell and configuration")
    (script,) = command_texts("shell and configuration")["powershell"]
    encoded = [base64.b64decode(text) for text in re.findall(r"FromBase64String\('([^']+)'\)", script)]
    assert names.subject_der in encoded
    assert names.san_der in encoded
    assert "id" not in re.sub(r"'[^']*'", "", script).split()


def test_without_a_subject() -> None:
    """OpenSSL has no option for a CSR with a challenge password and an empty subject."""
    names = read_bound_names("/", ["DNS:pump.example.com"])
    assert names is not None
    found = ways(PLACE, Enrollment(names, CHALLENGE), est=True, scep=True)
    assert [way.name for way in found] == ["trust", "powershell"]


def test_protocols_that_are_off() -> None:
    """The ways are those that server and policy allow."""
    enrollment = Enrollment(names_of("host"), CHALLENGE)
    assert [way.name for way in ways(PLACE, enrollment, est=False, scep=False)] == ["trust"]
    assert "sscep" not in [way.name for way in ways(PLACE, enrollment, est=True, scep=False)]


def test_configuration_without_further_names() -> None:
    """Without subject alternative names there is no section for them."""
    assert "[names]" not in request_configuration(names_of("many attributes"), CHALLENGE)
