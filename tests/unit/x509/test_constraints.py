"""A constrained CA issues nothing outside its constraints, and OpenSSL agrees."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pikachu.core.errors import MalformedRequest, PolicyViolation
from pikachu.x509.certificate import parse_certificate
from pikachu.x509.constraints import check_names, check_path_length, read_name_constraints
from pikachu.x509.names import parse_name
from tests.support.interop import require
from tests.support.pki import digest_for, general_name, make_ca, make_key, make_name


def dns(text: str) -> x509.GeneralName:
    return x509.DNSName(text)


ACME = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Acme")])
DEVICE = x509.Name([*ACME, x509.NameAttribute(x509.NameOID.COMMON_NAME, "device")])
EVIL = x509.Name(
    [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Evil"), x509.NameAttribute(x509.NameOID.COMMON_NAME, "d")]
)
NETWORK = x509.IPAddress(ip_network("192.0.2.0/24"))

CASES: list[tuple[list[x509.GeneralName], list[x509.GeneralName], x509.Name, list[str], bool]] = [
    ([dns("example.com")], [], DEVICE, ["DNS:a.example.com"], True),
    ([dns("example.com")], [], DEVICE, ["DNS:EXAMPLE.com"], True),
    ([dns("example.com")], [], DEVICE, ["DNS:badexample.com"], False),
    ([dns("example.com")], [], DEVICE, ["DNS:a.example.com", "DNS:example.org"], False),
    ([dns("example.com")], [], DEVICE, ["IP:192.0.2.1"], True),
    ([dns("example.com")], [], make_name("host.example.org"), [], False),
    ([], [dns("secret.example.com")], DEVICE, ["DNS:a.secret.example.com"], False),
    ([], [dns("secret.example.com")], DEVICE, ["DNS:open.example.com"], True),
    ([NETWORK], [], DEVICE, ["IP:192.0.2.77"], True),
    ([NETWORK], [], DEVICE, ["IP:192.0.3.77"], False),
    ([NETWORK], [], DEVICE, ["IP:2001:db8::1"], False),
    ([x509.DirectoryName(ACME)], [], DEVICE, ["DNS:a.b"], True),
    ([x509.DirectoryName(ACME)], [], EVIL, ["DNS:a.b"], False),
    ([], [x509.DirectoryName(ACME)], DEVICE, ["DNS:a.b"], False),
    ([x509.RFC822Name("example.com")], [], DEVICE, ["email:a@example.com"], True),
    ([x509.RFC822Name("example.com")], [], DEVICE, ["email:a@sub.example.com"], False),
    ([x509.RFC822Name("a@example.com")], [], DEVICE, ["email:b@example.com"], False),
    ([x509.UniformResourceIdentifier(".example.com")], [], DEVICE, ["URI:https://u@a.example.com:1/x"], True),
    ([x509.UniformResourceIdentifier("example.com")], [], DEVICE, ["URI:https://evil.com/@example.com"], False),
]


def constrained(
    tmp_path: Path,
    permitted: list[x509.GeneralName],
    excluded: list[x509.GeneralName],
    subject: x509.Name,
    names: list[str],
) -> tuple[x509.Certificate, x509.Certificate]:
    """A CA with these constraints, and what it would have issued."""
    root = make_ca(name="Root")
    key = make_key("p256", 2)
    begins, ends = root.certificate.not_valid_before_utc, root.certificate.not_valid_before_utc + timedelta(days=30)
    common = x509.CertificateBuilder().not_valid_before(begins).not_valid_after(ends)
    ca = (
        common.subject_name(make_name("Constrained"))
        .issuer_name(root.certificate.subject)
        .public_key(key.public_key())
        .serial_number(2)
        .add_extension(x509.BasicConstraints(True, 0), True)
        .add_extension(x509.NameConstraints(permitted or None, excluded or None), True)
        .sign(root.key, digest_for(root.key))
    )
    builder = common.subject_name(subject).issuer_name(ca.subject).public_key(make_key("p256", 3).public_key())
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), False)
    leaf = builder.serial_number(3).sign(key, digest_for(key))
    for name, one in (("root", root.certificate), ("ca", ca), ("leaf", leaf)):
        (tmp_path / f"{name}.pem").write_bytes(one.public_bytes(Encoding.PEM))
    return ca, leaf


@pytest.mark.parametrize(("permitted", "excluded", "subject", "names", "good"), CASES)
def test_names_within_constraints(
    tmp_path: Path,
    permitted: list[x509.GeneralName],
    excluded: list[x509.GeneralName],
    subject: x509.Name,
    names: list[str],
    good: bool,
) -> None:
    """RFC 5280 section 4.2.1.10: the same names are refused as by OpenSSL."""
    ca, leaf = constrained(tmp_path, permitted, excluded, subject, names)
    found = read_name_constraints(parse_certificate(ca.public_bytes(Encoding.DER)))
    assert found is not None
    made = parse_certificate(leaf.public_bytes(Encoding.DER))
    if good:
        check_names([found], parse_name(made.subject_der), made.extensions)
    else:
        with pytest.raises(PolicyViolation):
            check_names([found], parse_name(made.subject_der), made.extensions)
    require("openssl")
    command = ["openssl", "verify", "-CAfile", "root.pem", "-untrusted", "ca.pem", "leaf.pem"]
    verified = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert (verified.returncode == 0) is good, verified.stderr


def test_a_wildcard_holds_an_excluded_name(tmp_path: Path) -> None:
    """OpenSSL lets it pass; the host that is excluded would be certified all the same."""
    ca, leaf = constrained(tmp_path, [], [dns("www.example.com")], DEVICE, ["DNS:*.example.com"])
    found = read_name_constraints(parse_certificate(ca.public_bytes(Encoding.DER)))
    made = parse_certificate(leaf.public_bytes(Encoding.DER))
    assert found is not None
    with pytest.raises(PolicyViolation):
        check_names([found], parse_name(made.subject_der), made.extensions)


def test_constraints_that_can_not_be_read(tmp_path: Path) -> None:
    ca, _ = constrained(tmp_path, [dns("example.com")], [], DEVICE, [])
    data = ca.public_bytes(Encoding.DER)
    at = data.index(b"\xa0\x0f\x30\x0d\x82\x0bexample.com")
    with pytest.raises(MalformedRequest):
        read_name_constraints(parse_certificate(data[:at] + b"\xa2" + data[at + 1 :]))
    assert read_name_constraints(parse_certificate(make_ca().der)) is None


def test_path_length_of_every_ca_above_counts() -> None:
    """RFC 5280 section 4.2.1.9: a root with pathlen 1 has room for one CA below it, and no second."""
    authority = parse_certificate(make_ca().der)
    root = make_ca(name="Root", path_length=1)
    sub = make_ca(name="Sub", issuer=root)
    chain = [parse_certificate(sub.der), parse_certificate(root.der)]
    with pytest.raises(PolicyViolation):
        check_path_length(chain, authority.extensions)
    check_path_length(chain[1:], authority.extensions)
    check_path_length(chain, ())
