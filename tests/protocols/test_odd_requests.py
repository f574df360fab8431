"""CSRs with odd content over each protocol: ignored content stops no issuance; copied content follows the rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from twisted.logger import LogLevel, capturedLogs, formatEvent

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from pikachu.core.model.people import SYSTEM
from pikachu.core.model.policies import Policy, PolicyLimits
from pikachu.core.sentences import sentence
from pikachu.x509 import der
from pikachu.x509.certificate import SUBJECT_ALTERNATIVE_NAME, parse_certificate
from pikachu.x509.csr import CHALLENGE_PASSWORD
from pikachu.x509.names import build_name, name_from_text, parse_name
from pikachu.x509.pem import pem
from pikachu.x509.san import parse_san
from tests.protocols.est.refusals import refused
from tests.support.deferreds import result_of
from tests.support.est import EST, basic, est_site
from tests.support.lint import check_certificate, findings
from tests.support.odd_requests import (
    BAD_NAMES,
    GOOD_NAME,
    ODD_ATTRIBUTES,
    UNCOPIED_NAMES,
    signed_csr,
    vector,
)
from tests.support.pki import Identity
from tests.support.rest import REST, make_rest
from tests.support.scep import BAD_REQUEST, FAILURE, SCEP, scep_site
from tests.support.stack import DEFAULT_EXTENSIONS, Response, Stack, build_core
from tests.unit.x509.requests import attribute, extension, extension_request, san

KEY = ec.derive_private_key(0xABCDEF0123456789, ec.SECP256R1())
OTHER_KEY = ec.derive_private_key(0x123456789ABCDEF, ec.SECP256R1())
OWN_NAMES = f"{DEFAULT_EXTENSIONS}subjectAltName = DNS:fixed.example.com\n"


@dataclass(frozen=True)
class Server:
    """One server, with a client for each protocol."""

    stack: Stack
    est: EST
    scep: SCEP
    rest: REST

    def enroll(self, csr: bytes) -> Response:
        """simpleenroll of the account that REST is asked by, too: a key belongs to one owner."""
        return self.est.enroll(csr, headers=basic("alice", "password of alice"))

    def rest_body(self, csr: bytes, policy: str | None = None) -> dict[str, Any]:
        """The body of a request to issue."""
        body = {"csr": pem("CERTIFICATE REQUEST", csr)}
        return body if policy is None else {**body, "policy": policy}

    def issue(self, csr: bytes, policy: str | None = None) -> bytes:
        """The certificate that REST issues."""
        made = self.rest.good("POST", "/certificates", self.rest_body(csr, policy), who="alice", status=201)
        return x509.load_pem_x509_certificate(made["pem"].encode()).public_bytes(Encoding.DER)

    def preview(self, csr: bytes, policy: str | None = None) -> Any:
        """Return REST's preview of the certificate."""
        return self.rest.good("POST", "/certificates/preview", self.rest_body(csr, policy), who="alice")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with an RSA issuing CA, and policies that copy no names, have their own, and copy otherNames."""
    stack = build_core(tmp_path_factory.mktemp("server"), key_types=("rsa2048",))
    est = EST(stack, est_site(stack))
    policies = {
        "without names": PolicyLimits(honour_names=False),
        "own names": PolicyLimits(),
        "exact": PolicyLimits(exact_names=True),
        "countries": PolicyLimits(other_countries=True),
        "other names": PolicyLimits(other_names=("UPN", "nairealm", "krb5", "1.3.6.1.5.5.7.8.4")),
    }
    for name, limits in policies.items():
        text = OWN_NAMES if name == "own names" else DEFAULT_EXTENSIONS
        policy = Policy(0, name, 30, text, system=True, limits=limits)
        override = "Countries have other codes here." if limits.other_countries else None
        result_of(stack.app.policy_administration.add(SYSTEM, policy, override=override))
    yield Server(stack, est, SCEP(stack, scep_site(stack)), make_rest(stack))
    stack.close()


def names_of(certificate: bytes) -> str | None:
    """The text of the subjectAltName."""
    found = parse_certificate(certificate).extension(SUBJECT_ALTERNATIVE_NAME)
    return None if found is None else ", ".join(name.text for name in parse_san(found.value))


@pytest.mark.parametrize("name", ODD_ATTRIBUTES)
def test_odd_attributes(server: Server, name: str) -> None:
    """EST, SCEP and REST issue, the preview describes the CSR, and Inspect reads it."""
    attributes = ODD_ATTRIBUTES[name]
    csr = signed_csr(KEY, "CN=odd", attributes)
    server.est.certificate(server.enroll(csr))
    assert parse_certificate(server.issue(csr)).subject_der == name_from_text("CN=odd")
    shown = server.preview(csr)
    assert shown["refusal"] is None
    told = [*shown["asked"]["extensions"], *shown["asked"]["attributes"]]
    assert told
    # What the policy says anyhow is granted.
    assert {one["outcome"] for one in told} <= {"ignored", "dropped", "replaced", "granted"}
    inspected = server.rest.good("POST", "/inspect", {"data": pem("CERTIFICATE REQUEST", csr)}, who="alice")
    assert inspected["type"] == "csr"
    assert inspected["summary"]["signature"] == "verifies"
    client = server.scep.client()
    challenge = attribute(CHALLENGE_PASSWORD, der.printable_string(server.scep.admin_challenge()))
    message = client.pkcs_req(signed_csr(client.key, "CN=odd", (*attributes, challenge)))
    server.scep.leaf(server.scep.ask_scep(client, message))


@pytest.mark.parametrize("name", UNCOPIED_NAMES)
def test_kinds_of_names_that_are_not_copied(server: Server, name: str) -> None:
    """The other names are copied; alone it leaves a certificate without names."""
    csr = signed_csr(KEY, "CN=odd", (san(UNCOPIED_NAMES[name], GOOD_NAME),))
    server.est.certificate(server.enroll(csr))
    assert names_of(server.issue(csr)) == "DNS:device.example.com"
    (asked,) = server.preview(csr)["asked"]["extensions"]
    assert asked["outcome"] == "granted"
    assert "which the policy does not copy" in asked["why"]
    alone = signed_csr(KEY, "CN=odd", (san(UNCOPIED_NAMES[name]),))
    assert names_of(server.issue(alone)) is None
    assert server.preview(alone)["asked"]["extensions"][0]["outcome"] == "ignored"
    # Without a subject there is nothing left to certify.
    problem = server.rest.bad(422, "POST", "/certificates", server.rest_body(nameless(name)), who="alice")
    assert "neither a subject nor a subjectAltName" in problem["detail"]
    refused(server.enroll(nameless(name)), 400)


def nameless(name: str) -> bytes:
    """A CSR without a subject."""
    return signed_csr(KEY, b"\x30\x00", (san(UNCOPIED_NAMES[name]),))


@pytest.mark.parametrize("name", [*UNCOPIED_NAMES, *BAD_NAMES])
@pytest.mark.parametrize("policy", ["without names", "own names"])
def test_names_under_policies_that_do_not_copy_them(server: Server, policy: str, name: str) -> None:
    """No name of the request stops it."""
    attributes = BAD_NAMES[name] if name in BAD_NAMES else (san(UNCOPIED_NAMES[name]),)
    certificate = server.issue(signed_csr(KEY, "CN=odd", attributes), policy)
    assert findings(certificate) == []
    assert names_of(certificate) == ("DNS:fixed.example.com" if policy == "own names" else None)
    shown = server.preview(signed_csr(KEY, "CN=odd", attributes), policy)
    assert shown["refusal"] is None
    assert {one["outcome"] for one in shown["asked"]["extensions"]} <= {"dropped", "replaced"}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_are_copied_are_held_to_the_rules(server: Server, name: str) -> None:
    """Refused by each protocol, and the preview says the same."""
    csr = signed_csr(KEY, "CN=odd", BAD_NAMES[name])
    line = refused(server.enroll(csr), 400)
    response = server.rest.call("POST", "/certificates", server.rest_body(csr), who="alice")
    assert response.status in (400, 422)
    assert server.preview(csr)["refusal"]["detail"] == sentence(line.rstrip())
    client = server.scep.client()
    challenge = attribute(CHALLENGE_PASSWORD, der.printable_string(server.scep.admin_challenge()))
    message = client.pkcs_req(signed_csr(client.key, "CN=odd", (*BAD_NAMES[name], challenge)))
    reply = server.scep.ask_scep(client, message)
    assert (reply.status, reply.fail_info) == (FAILURE, BAD_REQUEST)


def test_equal_extension_requests(server: Server) -> None:
    """Names requested twice in the same way are copied once; odd content beside them is ignored."""
    names = san(GOOD_NAME)
    for attributes in (
        (names, names),
        (names, extension_request(extension("2.5.29.17", der.sequence(GOOD_NAME)), oid="1.3.6.1.4.1.311.2.1.14")),
        (attribute("1.2.840.113549.1.9.14", der.tlv(der.T61_STRING, b"x")), names),
        (extension_request(extension("2.5.29.15", der.null())), names),
    ):
        assert names_of(server.issue(signed_csr(KEY, "CN=odd", attributes))) == "DNS:device.example.com"


def test_other_names_that_the_policy_names(server: Server) -> None:
    """They are copied byte for byte and held to the rules of their type; others are passed over."""
    names = ("UPN", "NAIRealm", "krb5", "hardwareModuleName")
    csr = signed_csr(KEY, "CN=odd", (san(*(UNCOPIED_NAMES[name] for name in names), UNCOPIED_NAMES["x400Address"]),))
    certificate = server.issue(csr, "other names")
    check_certificate(certificate, server.stack.issuer().chain)
    found = parse_certificate(certificate).extension(SUBJECT_ALTERNATIVE_NAME)
    assert found is not None
    assert found.value == der.sequence(*(UNCOPIED_NAMES[name] for name in names))
    for wrong in (
        der.null(),
        der.utf8_string(""),
        der.utf8_string("a\0b"),
        der.octet_string(b"x"),
        b"\x0c\x01\xff",
        der.utf8_string("a") * 2,
    ):
        name = der.explicit(0, der.oid("1.3.6.1.4.1.311.20.2.3") + der.explicit(0, wrong))
        body = server.rest_body(signed_csr(KEY, "CN=odd", (san(name),)), "other names")
        assert server.rest.call("POST", "/certificates", body, who="alice").status in (400, 422)


@pytest.mark.parametrize("name", ["extension-request-empty-set", "raw-extension-value", "upn-othername"])
def test_odd_content_of_real_programs(server: Server, name: str) -> None:
    """Files of other programs enroll over EST and REST."""
    server.est.certificate(server.enroll(vector(name)))
    assert names_of(server.issue(vector(name))) is None


def test_cisco_ios(server: Server) -> None:
    """A T61String that wraps the extensions, beside a challenge password: REST ignores both, SCEP uses the latter."""
    server.issue(vector("cisco-ios-t61string"))
    shown = server.preview(vector("cisco-ios-t61string"))
    outcomes = {one["name"]: one["outcome"] for one in shown["asked"]["attributes"]}
    assert outcomes == {"challengePassword": "", "Extension Request": "ignored"}
    assert "secret1234" not in str(shown)


def test_what_was_ignored_is_in_the_log(server: Server) -> None:
    """At the level DEBUG, without values of attributes."""
    attributes = (*ODD_ATTRIBUTES["extensionRequest: T61String"], san(UNCOPIED_NAMES["UPN"], GOOD_NAME))
    with capturedLogs() as logs:
        server.issue(signed_csr(KEY, "CN=odd", attributes))
    (event,) = [one for one in logs if "were ignored" in (one.get("log_format") or "")]
    assert event["log_level"] is LogLevel.debug
    text = formatEvent(event)
    assert "no list of extensions" in text
    assert "u@example.com: The policy does not copy it." in text


# --- challenge passwords ----------------------------------------------------------------------

CHALLENGES = {
    "no value": (attribute(CHALLENGE_PASSWORD),),
    "two values": (attribute(CHALLENGE_PASSWORD, der.utf8_string("a"), der.utf8_string("b")),),
    "twice, different": (
        attribute(CHALLENGE_PASSWORD, der.utf8_string("a")),
        attribute(CHALLENGE_PASSWORD, der.utf8_string("b")),
    ),
    "an integer": (attribute(CHALLENGE_PASSWORD, der.integer(1)),),
    "an OCTET STRING": (attribute(CHALLENGE_PASSWORD, der.octet_string(b"secret")),),
    "too long": (attribute(CHALLENGE_PASSWORD, der.utf8_string("a" * 256)),),
    "not UTF-8": (attribute(CHALLENGE_PASSWORD, b"\x0c\x01\xff"),),
    "no SET": (der.sequence(der.oid(CHALLENGE_PASSWORD), der.utf8_string("a")),),
}


@pytest.mark.parametrize("name", CHALLENGES)
def test_challenge_passwords_that_can_not_be_read(server: Server, name: str) -> None:
    """REST ignores it; for EST and SCEP it is a wrong one, which authenticates nobody."""
    csr = signed_csr(KEY, "CN=odd", CHALLENGES[name])
    server.issue(csr)
    refused(server.enroll(csr), 400)
    refused(server.est.enroll(csr), 401)
    client = server.scep.client()
    reply = server.scep.ask_scep(client, client.pkcs_req(signed_csr(client.key, "CN=odd", CHALLENGES[name])))
    assert (reply.status, reply.fail_info) == (FAILURE, BAD_REQUEST)


def test_challenge_passwords_with_a_wrong_tag(server: Server) -> None:
    """A PrintableString with other characters is read, and the same one twice is one."""
    for value in (b"s@cret_1", b"M\xfcller", "Müller".encode()):
        text = server.scep.admin_challenge()
        repeated = attribute(CHALLENGE_PASSWORD, der.tlv(der.T61_STRING, text.encode()))
        # It belongs to the challenge password's owner, who has another key.
        server.est.certificate(server.est.enroll(signed_csr(OTHER_KEY, "CN=odd", (repeated, repeated))))
        wrong = attribute(CHALLENGE_PASSWORD, der.tlv(der.PRINTABLE_STRING, value))
        assert "challengePassword" in refused(server.enroll(signed_csr(KEY, "CN=odd", (wrong,))), 400)


# --- string types of names --------------------------------------------------------------------

CN, SERIAL, C, ORGANIZATION, DC, EMAIL = (
    "2.5.4.3",
    "2.5.4.5",
    "2.5.4.6",
    "2.5.4.10",
    "0.9.2342.19200300.100.1.25",
    "1.2.840.113549.1.9.1",
)
WRONG_TAGS: dict[str, tuple[str, bytes, str]] = {
    "PrintableString with *": (CN, der.tlv(der.PRINTABLE_STRING, b"*.example.com"), "*.example.com"),
    "PrintableString with _": (CN, der.tlv(der.PRINTABLE_STRING, b"my_host"), "my_host"),
    "PrintableString with @": (ORGANIZATION, der.tlv(der.PRINTABLE_STRING, b"a@b"), "a@b"),
    "PrintableString with &": (ORGANIZATION, der.tlv(der.PRINTABLE_STRING, b"A & B"), "A & B"),
    "PrintableString in UTF-8": (ORGANIZATION, der.tlv(der.PRINTABLE_STRING, "Müller".encode()), "Müller"),
    "PrintableString in Latin-1": (ORGANIZATION, der.tlv(der.PRINTABLE_STRING, b"M\xfcller"), "Müller"),
    "TeletexString": (CN, der.tlv(der.T61_STRING, b"device"), "device"),
    "TeletexString in Latin-1": (ORGANIZATION, der.tlv(der.T61_STRING, b"M\xfcller"), "Müller"),
    "BMPString": (ORGANIZATION, der.tlv(der.BMP_STRING, "Ärzte".encode("utf-16-be")), "Ärzte"),
    "UniversalString": (ORGANIZATION, der.tlv(der.UNIVERSAL_STRING, "Ärzte".encode("utf-32-be")), "Ärzte"),
    "IA5String": (CN, der.ia5_string("a@b"), "a@b"),
    "IA5String in UTF-8": (CN, der.tlv(der.IA5_STRING, "ä".encode()), "ä"),
    "VisibleString": (ORGANIZATION, der.tlv(der.VISIBLE_STRING, b"Acme"), "Acme"),
    "NumericString": (CN, der.tlv(der.NUMERIC_STRING, b"12 34"), "12 34"),
    "GeneralString": (CN, der.tlv(der.GENERAL_STRING, b"x"), "x"),
    "country as UTF8String": (C, der.utf8_string("US"), "US"),
    "country as IA5String": (C, der.ia5_string("de"), "de"),
    "serialNumber as UTF8String": (SERIAL, der.utf8_string("SN 1"), "SN 1"),
    "serialNumber as BMPString": (SERIAL, der.tlv(der.BMP_STRING, b"\0A\0B"), "AB"),
    "e-mail as UTF8String": (EMAIL, der.utf8_string("a@example.com"), "a@example.com"),
    "e-mail as PrintableString": (EMAIL, der.tlv(der.PRINTABLE_STRING, b"a@example.com"), "a@example.com"),
    "domainComponent as UTF8String": (DC, der.utf8_string("example"), "example"),
}

# RFC 5280 section 4.1.2.6: an address in the subject is a name of the subjectAltName, too.
ADDRESS = der.implicit(1, b"a@example.com")


def subject(oid: str, value: bytes) -> bytes:
    """A Name whose last attribute has that value; the first one makes it complete."""
    first = der.ia5_string("com") if oid == DC else der.utf8_string("x")
    pairs = ((DC if oid == DC else ORGANIZATION, first), (oid, value))
    return der.sequence(*(der.set_of((der.sequence(der.oid(kind), one),)) for kind, one in pairs))


@pytest.mark.parametrize("name", WRONG_TAGS)
def test_wrong_tags(server: Server, name: str) -> None:
    """The name is encoded again, subject and directoryName alike; the policy *exact* refuses it."""
    oid, value, text = WRONG_TAGS[name]
    encoded = subject(oid, value)
    expected = build_name([(DC, "com") if oid == DC else (ORGANIZATION, "x"), (oid, text)])
    csr = signed_csr(KEY, encoded, (san(der.explicit(4, encoded), ADDRESS),))
    found = server.est.certificate(server.enroll(csr))
    assert found.subject.public_bytes() == expected
    certificate = parse_certificate(server.issue(csr))
    assert certificate.subject_der == expected
    directory = certificate.extension(SUBJECT_ALTERNATIVE_NAME)
    assert directory is not None
    assert directory.value == der.sequence(der.explicit(4, expected), ADDRESS)
    shown = server.preview(csr)
    assert shown["given"]["subject"] == parse_name(expected).text
    assert any("string type" in remark for remark in shown["given"]["remarks"])
    for only in (signed_csr(KEY, encoded, ()), signed_csr(KEY, "CN=x", (san(der.explicit(4, encoded)),))):
        problem = server.rest.bad(422, "POST", "/certificates", server.rest_body(only, "exact"), who="alice")
        assert "exact names only" in problem["detail"]
        assert server.preview(only, "exact")["refusal"]["detail"] == problem["detail"]
    server.issue(signed_csr(KEY, expected, (san(der.explicit(4, expected)),)), "exact")


@pytest.mark.parametrize("name", WRONG_TAGS)
def test_renewal_of_a_name_that_was_encoded_again(server: Server, name: str) -> None:
    """The device sends the same CSR again, and keeps its names."""
    oid, value, _ = WRONG_TAGS[name]
    names = san(der.explicit(4, subject(oid, value)), UNCOPIED_NAMES["UPN"], ADDRESS)
    csr = signed_csr(KEY, subject(oid, value), (names,))
    certificate = server.est.certificate(server.enroll(csr))
    identity = Identity(KEY, certificate, server.stack.files.issuers["rsa"])
    server.est.certificate(server.est.enroll(csr, "simplereenroll", tls=server.est.connect(identity)))


@pytest.mark.parametrize(
    ("oid", "value"),
    [
        (SERIAL, der.utf8_string("a_b")),
        (SERIAL, der.utf8_string("ä")),
        (EMAIL, der.utf8_string("ä@example.com")),
        (DC, der.utf8_string("ä")),
        (CN, der.tlv(der.UTF8_STRING, b"\xff")),
        (CN, der.tlv(der.BMP_STRING, b"\0a\0")),
        (CN, der.tlv(der.PRINTABLE_STRING, b"a\0b")),
        (CN, der.tlv(der.T61_STRING, b"a\x85")),
        (CN, der.tlv(der.PRINTABLE_STRING, b"")),
        (CN, der.tlv(der.PRINTABLE_STRING, b"_" * 65)),
        (CN, der.integer(1)),
        (CN, der.octet_string(b"x")),
        (C, der.utf8_string("USA")),
        (C, der.printable_string("U1")),
        (C, der.utf8_string("Ü")),
    ],
)
def test_names_that_no_tag_makes_right(server: Server, oid: str, value: bytes) -> None:
    """Refused, in the subject and in a directoryName that is copied."""
    for csr in (
        signed_csr(KEY, subject(oid, value), ()),
        signed_csr(KEY, "CN=x", (san(der.explicit(4, subject(oid, value))),)),
    ):
        refused(server.enroll(csr), 400)
        assert server.rest.call("POST", "/certificates", server.rest_body(csr), who="alice").status in (400, 422)


def test_other_country_codes(server: Server) -> None:
    """A policy may allow them; the certificate renews, and its owner sees it."""
    for text in ("USA", "England"):
        for encoded in (der.printable_string(text), der.utf8_string(text)):
            csr = signed_csr(KEY, subject(C, encoded), ())
            problem = server.rest.bad(422, "POST", "/certificates", server.rest_body(csr), who="alice")
            assert "two letters" in problem["detail"]
            made = server.rest.good(
                "POST", "/certificates", server.rest_body(csr, "countries"), who="alice", status=201
            )
            assert made["subject"] == f"C={text},O=x"
            assert server.rest.good("GET", f"/certificates/{made['id']}", who="alice")["subject"] == f"C={text},O=x"


@pytest.mark.parametrize("name", ["node-forge-star", "country-utf8string"])
def test_names_of_real_programs(server: Server, name: str) -> None:
    """Files of other programs."""
    certificate = server.issue(vector(name))
    check_certificate(certificate, server.stack.issuer().chain)


@pytest.mark.parametrize("name", ["openssl30-default-pss", "jdk11-ecdsa-null"])
def test_signatures_of_real_programs(server: Server, name: str) -> None:
    """The longest salt of RSASSA-PSS, and ECDSA with NULL parameters, over each protocol."""
    server.est.certificate(server.enroll(vector(name)))
    server.issue(vector(name))
    summary = server.rest.good("POST", "/inspect", {"data": pem("CERTIFICATE REQUEST", vector(name))}, who="alice")
    assert summary["summary"]["signature"] == "verifies"
