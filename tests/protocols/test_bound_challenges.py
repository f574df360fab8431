# mypy: allow-untyped-calls
"""Challenge passwords that are bound to names, over EST and SCEP (ENR-1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from pikachu.accounts.challenge_passwords import Purpose
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Principal
from pikachu.core.model.policies import Approval, PolicyLimits
from pikachu.x509 import der
from pikachu.x509.certificate import SUBJECT_ALTERNATIVE_NAME, parse_certificate
from pikachu.x509.csr import CHALLENGE_PASSWORD
from pikachu.x509.names import name_from_text
from pikachu.x509.san import parse_san
from tests.protocols.est.refusals import refused
from tests.support.deferreds import result_of
from tests.support.est import ADMIN, basic, est_site
from tests.support.odd_requests import UNCOPIED_NAMES, signed_csr
from tests.support.pki import Identity
from tests.support.scep import BAD_REQUEST, FAILURE, PENDING, SCEP, scep_server_in
from tests.support.stack import DEFAULT_EXTENSIONS, Response
from tests.unit.x509.requests import attribute, dns, san

KEY: Final = ec.derive_private_key(0xABCDEF0123456789, ec.SECP256R1())
OTHER_KEY: Final = ec.derive_private_key(0x123456789ABCDEF, ec.SECP256R1())
CN: Final = "2.5.4.3"
ORGANIZATION: Final = "2.5.4.10"


@dataclass
class Server:
    """One server, which EST and SCEP clients ask."""

    est: SCEP
    scep: SCEP
    owner: Principal

    def challenge(self, subject: str | None, sans: Sequence[str] = (), label: str = "pump 1") -> str:
        """Return a new challenge password that is bound to names."""
        made = self.est.stack.app.challenge_passwords.create(self.owner, purpose=Purpose(label, subject, sans))
        return result_of(made)[1]

    def is_available(self, text: str) -> bool:
        """Return whether a challenge password can still be used."""
        items = result_of(self.est.stack.app.challenge_passwords.list(self.owner, ListQuery(q=text[:8]))).items
        return items[0].reserved_by is None and items[0].consumed_at is None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with an RSA key."""
    with scep_server_in(tmp_path_factory.mktemp("server")) as scep:
        est = SCEP(scep.stack, est_site(scep.stack))
        est.policy("standard", use_for_scep=True)
        est.policy("fixed", extensions=f"{DEFAULT_EXTENSIONS}subjectAltName = DNS:fixed.example.com\n")
        est.policy("no names", limits=PolicyLimits(honour_names=False))
        est.policy("pumps only", limits=PolicyLimits(subject="CN=pump*", names=("DNS:pump*.example.com",)))
        est.policy("exact", limits=PolicyLimits(exact_names=True))
        est.policy("looked at", approval=Approval.MANUAL, use_for_scep=True)
        yield Server(est, scep, est.account("owner"))


def csr_of(
    challenge: str,
    subject: str | bytes,
    names: Sequence[bytes] = (),
    key: ec.EllipticCurvePrivateKey = KEY,
) -> bytes:
    """A DER CSR with these GeneralNames."""
    return signed_csr(key, subject, csr_attributes(challenge, names))


def sans_of(certificate: x509.Certificate) -> list[str]:
    """The texts of the names in a certificate's subjectAltName."""
    extension = parse_certificate(certificate.public_bytes(Encoding.DER)).extension(SUBJECT_ALTERNATIVE_NAME)
    return [] if extension is None else [name.text for name in parse_san(extension.value)]


def rdn(*pairs: tuple[str, bytes]) -> bytes:
    """A RelativeDistinguishedName of type and DER value."""
    return der.set_of(der.sequence(der.oid(oid), value) for oid, value in pairs)


def ip(address: str) -> bytes:
    """An iPAddress in hexadecimal."""
    return der.implicit(7, bytes.fromhex(address))


def email(address: str) -> bytes:
    """An rfc822Name."""
    return der.implicit(1, address.encode())


PUMP: Final = "CN=pump-001,O=Example AG"
BMP: Final = der.tlv(der.BMP_STRING, "pump-001".encode("utf-16-be"))
T61: Final = der.tlv(der.T61_STRING, b"pump-001")
ORG: Final = rdn((ORGANIZATION, der.printable_string("Example AG")))
Case: TypeAlias = tuple[str, Sequence[str], str | bytes, Sequence[bytes]]
#: (subject and SANs of the password, subject and GeneralNames of the CSR)
EQUAL: Final[Mapping[str, Case]] = {
    "the same": (PUMP, (), PUMP, ()),
    "encoding order with a country": ("C=DE,O=Example AG,CN=pump-001", (), "/C=DE/O=Example AG/CN=pump-001", ()),
    "case and spaces": (PUMP, (), "CN=PUMP-001,O=example  ag", ()),
    "UTF8String and PrintableString": (
        PUMP,
        (),
        der.sequence(ORG, rdn((CN, der.printable_string("pump-001")))),
        (),
    ),
    "BMPString": (PUMP, (), der.sequence(ORG, rdn((CN, BMP))), ()),
    "TeletexString": (PUMP, (), der.sequence(ORG, rdn((CN, T61))), ()),
    "several attributes in one RDN": (
        "CN=pump-001+serialNumber=7",
        (),
        der.sequence(rdn(("2.5.4.5", der.printable_string("7")), (CN, der.utf8_string("PUMP-001")))),
        (),
    ),
    "composed or not": ("CN=Zu\u0308rich", (), "CN=z\u00fcrich", ()),
    "case outside ASCII": ("CN=\u00dcberlingen", (), "CN=\u00fcBERLINGEN", ()),
    "DNS names in another case": (PUMP, ["DNS:Pump-001.example.com"], PUMP, [dns(b"pump-001.EXAMPLE.com")]),
    "the Unicode form of a domain": (PUMP, ["b\u00fccher.example.com"], PUMP, [dns(b"xn--bcher-kva.example.com")]),
    "IPv4": (PUMP, ["192.0.2.7"], PUMP, [ip("c0000207")]),
    "IPv6 in a long form": (PUMP, ["IP:2001:0DB8:0:0::0007"], PUMP, [ip("20010db8000000000000000000000007")]),
    "the domain of an e-mail address": (PUMP, ["email:Pump@Example.com"], PUMP, [email("Pump@example.COM")]),
    "a URI": (PUMP, ["https://a.example.com/x"], PUMP, [der.implicit(6, b"https://a.example.com/x")]),
    "one name twice": (PUMP, ["a.example.com"], PUMP, [dns(b"a.example.com"), dns(b"A.example.com")]),
    "an empty subject": ("/", ["pump-001.example.com"], "/", [dns(b"pump-001.example.com")]),
}
DIFFERENT: Final[Mapping[str, Case]] = {
    "another value": (PUMP, (), "CN=pump-002,O=Example AG", ()),
    "attributes in another order": (PUMP, (), "O=Example AG,CN=pump-001", ()),
    "an attribute more": (PUMP, (), "CN=pump-001,OU=x,O=Example AG", ()),
    "an attribute less": (PUMP, (), "CN=pump-001", ()),
    "one RDN for two": ("CN=pump-001,O=Example AG", (), "CN=pump-001+O=Example AG", ()),
    "an attribute of another type": ("CN=pump-001", (), "OU=pump-001", ()),
    # RFC 4518 ignores these differences; whoever compares strings or resolves the name does not.
    "letters that fold to others": ("CN=strasse.example.com", (), "CN=stra\u00dfe.example.com", ()),
    "a final sigma": ("CN=\u03bf\u03c3.example.com", (), "CN=\u03bf\u03c2.example.com", ()),
    "a ligature": ("CN=firewall", (), "CN=\ufb01rewall", ()),
    "fullwidth letters": ("CN=admin", (), "CN=\uff41dmin", ()),
    "another space": ("CN=pump 1", (), "CN=pump\u00a01", ()),
    "an empty subject": (PUMP, ["a.example.com"], "/", [dns(b"a.example.com")]),
    "any subject for an empty one": ("/", ["a.example.com"], "CN=a", [dns(b"a.example.com")]),
    "a name for none": (PUMP, (), PUMP, [dns(b"pump-001.example.com")]),
    "a name more": (PUMP, ["a.example.com"], PUMP, [dns(b"a.example.com"), dns(b"b.example.com")]),
    "a wildcard": (PUMP, ["a.example.com"], PUMP, [dns(b"*.example.com")]),
    "IPv4 mapped to IPv6": (PUMP, ["192.0.2.7"], PUMP, [ip("00000000000000000000ffffc0000207")]),
    "an address as a DNS name": (PUMP, ["IP:192.0.2.7"], PUMP, [dns(b"192.0.2.7")]),
    "the case of a mailbox": (PUMP, ["email:Pump@example.com"], PUMP, [email("pump@example.com")]),
    "an otherName": (PUMP, ["a.example.com"], PUMP, [dns(b"a.example.com"), UNCOPIED_NAMES["UPN"]]),
    "an x400Address": (PUMP, ["a.example.com"], PUMP, [UNCOPIED_NAMES["x400Address"]]),
    "a directoryName": (PUMP, ["a.example.com"], PUMP, [der.explicit(4, name_from_text(PUMP))]),
    "a registeredID": (PUMP, ["a.example.com"], PUMP, [der.implicit(8, der.parse(der.oid("1.2.3")).content)]),
}


@pytest.mark.parametrize("case", EQUAL)
def test_equal(server: Server, case: str) -> None:
    """Case, spaces and the type of strings don't count."""
    subject, sans, requested, names = EQUAL[case]
    text = server.challenge(subject, sans)
    found = server.est.certificate(server.est.enroll(csr_of(text, requested, names)))
    assert not server.is_available(text)
    assert len(sans_of(found)) == len(names)


@pytest.mark.parametrize("case", DIFFERENT)
def test_different(server: Server, case: str) -> None:
    """403, recorded without the password, which is not consumed."""
    subject, sans, requested, names = DIFFERENT[case]
    text = server.challenge(subject, sans)
    line = refused(server.est.enroll(csr_of(text, requested, names)), 403)
    assert "create another challenge password" in line
    event = server.est.events("failed login")[-1].event
    assert event.resource_name == text[:8]
    assert event.details["label"] == "pump 1"
    assert event.details["requested"] or requested == "/"
    assert text not in str(event)
    assert server.is_available(text)


def test_names_that_can_not_be_read(server: Server) -> None:
    """A subjectAltName that is none does not pass for an empty one."""
    text = server.challenge(PUMP, ["a.example.com"])
    for names in ([dns(b"a b")], [der.implicit(9, b"x")]):
        refused(server.est.enroll(csr_of(text, PUMP, names)), 400)
    assert server.is_available(text)


def test_names_are_added(server: Server) -> None:
    """The certificate gets what the CSR lacks; the audit log says label and names, never the password."""
    text = server.challenge(PUMP, ["pump-001.example.com", "192.0.2.7", "DNS:b.example.com"])
    created = server.est.events("create")[-1].event
    assert created.details["label"] == "pump 1"
    assert created.details["subject"] == PUMP
    assert created.details["sans"] == ["DNS:pump-001.example.com", "IP:192.0.2.7", "DNS:b.example.com"]
    found = server.est.certificate(server.est.enroll(csr_of(text, PUMP, [dns(b"B.example.com")])))
    assert sans_of(found) == ["DNS:B.example.com", "DNS:pump-001.example.com", "IP:192.0.2.7"]
    issued = server.est.events("create")[-1].event
    assert issued.details["challenge_password_label"] == "pump 1"
    assert text not in str((created, issued))


def test_no_names(server: Server) -> None:
    """A password without names enrolls any, as ever, and adds none."""
    text = server.challenge(None)
    found = server.est.certificate(server.est.enroll(csr_of(text, "CN=any", [dns(b"any.example.com")])))
    assert sans_of(found) == ["DNS:any.example.com"]


def test_the_policy_decides(server: Server) -> None:
    """Added names are as if the CSR had asked for them."""

    def enroll(subject: str, sans: Sequence[str], policy: str) -> Response:
        return server.est.enroll(csr_of(server.challenge(subject, sans), subject), label=policy)

    assert sans_of(server.est.certificate(enroll("CN=pump1", ["a.example.com"], "no names"))) == []
    assert sans_of(server.est.certificate(enroll("CN=pump1", ["a.example.com"], "fixed"))) == ["DNS:fixed.example.com"]
    assert sans_of(server.est.certificate(enroll("CN=pump1", ["pump1.example.com"], "pumps only"))) == [
        "DNS:pump1.example.com"
    ]
    assert sans_of(server.est.certificate(enroll("CN=pump1", ["a.example.com"], "exact"))) == ["DNS:a.example.com"]
    assert "does not allow the name DNS:a.example.com" in refused(
        enroll("CN=pump1", ["a.example.com"], "pumps only"), 400
    )
    refused(enroll("CN=fan1", (), "pumps only"), 400)


def test_the_policy_ignores_names_that_are_not_bound(server: Server) -> None:
    """Which policy applies does not matter: the request is for another name."""
    text = server.challenge(PUMP)
    refused(server.est.enroll(csr_of(text, PUMP, [dns(b"a.example.com")]), label="no names"), 403)


def test_with_a_password(server: Server) -> None:
    """An account that vouches for the request does not change what the challenge password is for."""
    if not result_of(server.est.stack.app.store.account_by_name("alice")):
        server.est.account("alice")
    text = server.challenge(PUMP, ["a.example.com"])
    refused(server.est.enroll(csr_of(text, "CN=other"), headers=basic("alice")), 403)
    found = server.est.certificate(server.est.enroll(csr_of(text, PUMP), headers=basic("alice")))
    assert sans_of(found) == ["DNS:a.example.com"]


def test_server_key_generation(server: Server) -> None:
    """The request is refused before a key is generated; a matching one gets the names."""
    text = server.challenge(PUMP, ["a.example.com"])
    refused(server.est.enroll(csr_of(text, "CN=other"), "serverkeygen"), 403)
    assert server.is_available(text)
    assert server.est.enroll(csr_of(text, PUMP), "serverkeygen").status == 200
    issued = server.est.events("create")[-1].event
    record = result_of(server.est.stack.app.store.certificate_by_serial(int(str(issued.details["serial"]), 16)))
    assert record.sans == ("DNS:a.example.com",)


def test_reenrollment(server: Server) -> None:
    """A renewal keeps the names of its certificate, whatever the challenge password adds."""
    text = server.challenge("CN=pump9", ["a.example.com"])
    first = server.est.certificate(server.est.enroll(csr_of(text, "CN=pump9")))
    issuer = server.est.stack.files.issuers["rsa"]
    tls = server.est.connect(Identity(KEY, first, issuer))
    for number, names in enumerate(([dns(b"a.example.com")], [])):
        csr = signed_csr(OTHER_KEY if number else KEY, "CN=pump9", (san(*names),) if names else ())
        answer = server.est.enroll(csr, "simplereenroll", tls=server.est.connect(Identity(KEY, first, issuer)))
        assert answer.status == (200 if names else 403)
    again = server.challenge("CN=pump9", ["b.example.com"])
    refused(server.est.enroll(csr_of(again, "CN=pump9", [dns(b"a.example.com")]), "simplereenroll", tls=tls), 403)


def test_two_at_once(server: Server) -> None:
    """Of two requests for the same name, one is certified; a copy of the first gets the same certificate."""
    text = server.challenge(PUMP, ["a.example.com"])
    first, second = (csr_of(text, PUMP, key=key) for key in (KEY, OTHER_KEY))
    found = server.est.certificate(server.est.enroll(first))
    refused(server.est.enroll(second), 401)
    assert server.est.certificate(server.est.enroll(first)) == found


def test_approval(server: Server) -> None:
    """Reserved while it waits, free when rejected; the approved certificate has the added names."""
    text = server.challenge(PUMP, ["a.example.com", "b.example.com"])
    csr = csr_of(text, PUMP, [dns(b"b.example.com")])
    refused(server.est.enroll(csr_of(text, "CN=other"), label="looked at"), 403)
    # The label of a policy is for its owner, or for all when it is a system policy.
    assert server.est.enroll(csr, label="looked at").status == 202
    assert not server.is_available(text)
    server.est.reject(server.est.approvals()[0].id)
    assert server.is_available(text)
    other = csr_of(text, PUMP, key=OTHER_KEY)
    assert server.est.enroll(other, label="looked at").status == 202
    waiting = server.est.approvals()[0]
    preview = result_of(server.est.stack.app.registration.preview_approval(ADMIN, waiting.id))
    assert "a.example.com" in str(preview)
    server.est.approve(waiting.id)
    found = server.est.certificate(server.est.enroll(other, label="looked at"))
    assert sans_of(found) == ["DNS:a.example.com", "DNS:b.example.com"]


def test_scep(server: Server) -> None:
    """FAILURE with badRequest for other names; a matching request gets the names."""
    text = server.challenge("CN=pump7", ["a.example.com"])
    client = server.scep.client(3)
    for subject, names in (("CN=other", ()), ("CN=pump7", [dns(b"b.example.com")])):
        request = signed_csr(client.key, subject, csr_attributes(text, names))
        reply = server.scep.ask_scep(client, client.pkcs_req(request))
        assert (reply.status, reply.fail_info) == (FAILURE, BAD_REQUEST)
        assert "create another challenge password" in (reply.fail_info_text or "")
        assert server.is_available(text)
    request = signed_csr(client.key, "CN=pump7", csr_attributes(text, ()))
    leaf = server.scep.leaf(server.scep.ask_scep(client, client.pkcs_req(request)))
    assert sans_of(x509.load_der_x509_certificate(leaf)) == ["DNS:a.example.com"]
    # A renewal is signed with the certificate; the challenge password in it counts for nothing.
    renewing = replace(client, certificate=leaf)
    renewal = signed_csr(client.key, "CN=pump7", csr_attributes(text, [dns(b"a.example.com")]))
    server.scep.leaf(server.scep.ask_scep(renewing, renewing.renewal_req(renewal, transaction_id="again")))


def test_scep_approval(server: Server) -> None:
    """The names are added when the request is approved, also after a poll."""
    text = server.challenge("CN=pump8", ["a.example.com"])
    client = server.scep.client(2, "/scep/looked at".replace(" ", "%20"))
    request = signed_csr(client.key, "CN=pump8", csr_attributes(text, ()))
    message = client.pkcs_req(request)
    assert server.scep.ask_scep(client, message, "/scep/looked%20at").status == PENDING
    server.scep.approve(server.scep.approvals()[0].id)
    leaf = server.scep.leaf(server.scep.ask_scep(client, message, "/scep/looked%20at"))
    assert sans_of(x509.load_der_x509_certificate(leaf)) == ["DNS:a.example.com"]


def csr_attributes(challenge: str, names: Sequence[bytes]) -> tuple[bytes, ...]:
    """The attributes of a CSR."""
    password = attribute(CHALLENGE_PASSWORD, der.utf8_string(challenge))
    return (password, san(*names)) if names else (password,)


def test_many_failures_refuse_no_valid_request(server: Server) -> None:
    """Guesses of names are slowed down like guesses of passwords; the right name is always accepted."""
    text = server.challenge("CN=pump6")
    statuses = {server.est.enroll(csr_of(text, f"CN=guess{number}")).status for number in range(40)}
    assert statuses == {403, 429}
    server.est.certificate(server.est.enroll(csr_of(text, "CN=pump6")))
