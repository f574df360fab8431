"""Certificates under the shipped templates, for every type of key, are without fault to pkilint."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from pikachu.inventory.template_files import SHIPPED_FOLDER
from pikachu.web.x509_rendering import JinjaText
from pikachu.x509 import der
from pikachu.x509.certificate import (
    CLIENT_AUTH,
    DIGITAL_SIGNATURE,
    EXTENDED_KEY_USAGE,
    KEY_ENCIPHERMENT,
    KEY_USAGE,
    OCSP_SIGNING,
    SERVER_AUTH,
    SUBJECT_ALTERNATIVE_NAME,
    Certificate,
    Validity,
    assemble,
    parse_certificate,
    tbs_certificate,
)
from pikachu.x509.extension import Extension
from pikachu.x509.names import COMMON_NAME, build_name
from pikachu.x509.profile import (
    AUTHORITY_INFORMATION_ACCESS,
    CRL_DISTRIBUTION_POINTS,
    Addresses,
    leaf_extensions,
)
from pikachu.x509.san import encode_san, name_from_san_text
from pikachu.x509.spki import describe_spki
from pikachu.x509.template import ExtensionContext, parse
from tests.support.lint import findings
from tests.support.pki import KEY_TYPES, make_ca, make_key, sign, signature_algorithm, spki

ISSUER: Final = make_ca("p256", "Issuing CA")
ADDRESSES: Final = Addresses(
    "http://ca.example.com/ocsp", "http://ca.example.com/ca/ec.cer", "http://ca.example.com/crl/ec.crl"
)
#: Of files with extensions; with values that lead to other extensions than the defaults.
TEMPLATES: Final = sorted(
    path.name
    for path in SHIPPED_FOLDER.glob("*.cnf.j2")
    if "ext" in parse(JinjaText(path.read_text(encoding="utf-8")).render({})).usages
)
VALUES: Final = {
    "dns_names": "a.example.org, b.example.org",
    "ip_addresses": "192.0.2.1, 2001:db8::1",
    "path_length": "1",
    "permitted_dns": "example.org, example.net",
    "no_check": "false",
    "also_server": "true",
    "also_client": "true",
    "also_email": "true",
    "must_staple": "true",
}


def issue(policy: tuple[Extension, ...], key_type: str) -> Certificate:
    """Return a certificate under a policy with these extensions."""
    key = describe_spki(spki(make_key(key_type)))
    subject = build_name([(COMMON_NAME, "device.example.com")])
    now = datetime.now(UTC).replace(microsecond=0)
    names = Extension(SUBJECT_ALTERNATIVE_NAME, False, encode_san([name_from_san_text("DNS:device.example.com")]))
    tbs = tbs_certificate(
        serial=1 << 100 | 5,
        algorithm=signature_algorithm(ISSUER.key),
        issuer_der=ISSUER.subject_der,
        validity=Validity(now, now + timedelta(days=30)),
        subject_der=subject,
        spki_der=key.spki,
        extensions=leaf_extensions(
            policy=policy,
            requested_names=names,
            subject_der=subject,
            key=key,
            issuer=parse_certificate(ISSUER.der),
            addresses=ADDRESSES,
        ),
    )
    return parse_certificate(assemble(tbs, signature_algorithm(ISSUER.key), sign(ISSUER.key, tbs)))


@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize("key_type", KEY_TYPES)
@pytest.mark.parametrize("name", TEMPLATES)
def test_shipped_templates(name: str, key_type: str, changed: bool) -> None:
    """With their defaults and with other values."""
    jinja = JinjaText((SHIPPED_FOLDER / name).read_text(encoding="utf-8"))
    known = {variable.name for variable in jinja.variables}
    text = jinja.render({key: value for key, value in VALUES.items() if changed and key in known})
    issuer = parse_certificate(ISSUER.der)
    context = ExtensionContext(
        issuer_key_identifier=issuer.key_identifier,
        issuer_issuer_der=issuer.issuer_der,
        issuer_serial=issuer.serial,
        subject_spki=spki(make_key(key_type)),
        subject_der=build_name([(COMMON_NAME, "device.example.com")]),
        variables={},
    )
    certificate = issue(parse(text).extensions(context), key_type)
    assert findings(certificate.der) == []
    is_responder = OCSP_SIGNING in (certificate.extended_key_usage or ())
    for oid in (AUTHORITY_INFORMATION_ACCESS, CRL_DISTRIBUTION_POINTS):
        assert (certificate.extension(oid) is None) is is_responder


SIGNATURE: Final = frozenset({DIGITAL_SIGNATURE})
BOTH: Final = frozenset({DIGITAL_SIGNATURE, KEY_ENCIPHERMENT})
EMAIL, CODE, TIME = "1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.3", "1.3.6.1.5.5.7.3.8"


@pytest.mark.parametrize(
    ("purposes", "rsa"),
    [
        ((), BOTH),
        ((CLIENT_AUTH,), SIGNATURE),
        ((SERVER_AUTH,), BOTH),
        ((CLIENT_AUTH, SERVER_AUTH), BOTH),
        ((CLIENT_AUTH, EMAIL), BOTH),
        ((CODE,), SIGNATURE),
        ((TIME,), SIGNATURE),
        ((OCSP_SIGNING,), SIGNATURE),
        ((CLIENT_AUTH, CODE), SIGNATURE),
        (("1.2.3.4",), BOTH),
        (("2.5.29.37.0",), BOTH),
    ],
)
@pytest.mark.parametrize("key_type", KEY_TYPES)
@pytest.mark.parametrize("named", [False, True])
def test_key_usage(purposes: tuple[str, ...], rsa: frozenset[int], key_type: str, named: bool) -> None:
    """RFC 5280 section 4.2.1.12: consistent with the purposes, also where nothing that the policy names can be kept."""
    policy = [Extension(EXTENDED_KEY_USAGE, False, der.sequence(*map(der.oid, purposes)))] if purposes else []
    if named and key_type != "rsa2048":
        # keyEncipherment: for RSA only.
        policy.append(Extension(KEY_USAGE, True, der.named_bits((KEY_ENCIPHERMENT,))))
    certificate = issue(tuple(policy), key_type)
    assert certificate.key_usage == (rsa if key_type == "rsa2048" else SIGNATURE)


def test_key_usage_of_the_policy() -> None:
    """A key usage set by the policy stays unchanged."""
    policy = (
        Extension(EXTENDED_KEY_USAGE, False, der.sequence(der.oid(CLIENT_AUTH))),
        Extension(KEY_USAGE, True, der.named_bits((DIGITAL_SIGNATURE, KEY_ENCIPHERMENT))),
    )
    assert issue(policy, "rsa2048").key_usage == BOTH
