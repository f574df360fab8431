"""KEY-1 to KEY-5, CSR-1, CRT-4: stored keys, their CSRs and PKCS#12: authorization and events."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from twisted.internet.task import Clock

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from pikachu.auth.authenticator import account_principal
from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import (
    AuthenticationFailed,
    BadCSR,
    BadPublicKey,
    BadTemplate,
    Conflict,
    MalformedRequest,
    NotAuthorized,
    NotFound,
    Overloaded,
    SecretKeyChanged,
    UnsupportedAlgorithm,
)
from pikachu.core.model.account_objects import KeyUse, StoredKey
from pikachu.core.model.certificates import Method
from pikachu.core.model.events import EventRecord
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import ANONYMOUS, SYSTEM, AccountState, Principal, Role, Scope
from pikachu.core.sealing import Sealer, key_row
from pikachu.inventory.csrs import CertificateRequests, RequestSource
from pikachu.inventory.keys import AT_ONCE, CHOICES, Keys, key_name
from pikachu.inventory.templates import TemplateDraft
from pikachu.ra.enrollment import Issued
from pikachu.server.pools import threaded_pools
from pikachu.x509.csr import parse_csr, verify_csr
from pikachu.x509.key_files import read_key_file
from pikachu.x509.keys import (
    KEY_NAMES,
    describe_private_key,
    generate_private_key,
    load_private_key,
    private_key_info,
    private_key_pem,
)
from pikachu.x509.pfx import read_file
from pikachu.x509.request_text import HIDDEN, view_request
from pikachu.x509.text.csr import csr_text
from tests.support.deferreds import failure_of, result_of
from tests.support.people import HeldPool
from tests.support.stack import Stack, build_core

REQUEST = """\
[ req ]
prompt = no
distinguished_name = dn
attributes = more
req_extensions = asked
[ dn ]
O = Example
CN = device.example.com
[ more ]
challengePassword = a secret word
unstructuredName = cellar
[ asked ]
keyUsage = critical, digitalSignature
subjectAltName = DNS:device.example.com, IP:192.0.2.1
"""


@dataclass
class People:
    """Two users and an admin, and the rooms."""

    stack: Stack
    alice: Principal
    bob: Principal
    root: Principal

    @property
    def keys(self) -> Keys:
        return self.stack.app.keys

    @property
    def requests(self) -> CertificateRequests:
        return self.stack.app.requests

    def key(self, kind: str = "prime256v1", actor: Principal | None = None) -> StoredKey:
        return result_of(self.keys.generate(actor or self.alice, f"my {kind}", kind))

    def events(self, resource_type: str = "key") -> list[EventRecord]:
        query = ListQuery(limit=1000, sort="id", filters={"resource_type": resource_type})
        return list(result_of(self.stack.app.store.events(query)).items)

    def restricted(self, actor: Principal, *scopes: Scope) -> Principal:
        return replace(actor, scopes=frozenset(scopes))


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    stack = build_core(tmp_path)

    def person(name: str, role: Role = Role.USER) -> Principal:
        account = result_of(
            stack.app.accounts.add_user(SYSTEM, name, f"{name}@example.com", role, AccountState.ACTIVE, "correct horse")
        )
        return account_principal(account, "192.0.2.7")

    yield People(stack, person("alice"), person("bob"), person("root", Role.ADMIN))
    stack.close()


# --- keys ------------------------------------------------------------------------------------


def test_names_of_kinds() -> None:
    """KEY-1: every kind that can be made has a family and a choice, and nothing else has."""
    made = {key_name(family, choice) for family, choices in CHOICES.items() for choice in choices or ("",)}
    assert made == set(KEY_NAMES)
    assert [key_name(family) for family in CHOICES] == ["rsa2048", "prime256v1", "ed25519", "mldsa44"]
    for family, choice in (("rsa", "4096"), ("RSA/4096", ""), ("rsa4096", "")):
        assert key_name(family, choice) == "rsa4096"
    assert key_name("", "mldsa65") == key_name("pqc", "MLDSA65") == "mldsa65"
    for family, choice in (("", ""), ("DSA", ""), ("RSA", "1024"), ("EC", "2048"), ("Ed25519", "x"), ("RSA/512", "")):
        with pytest.raises(MalformedRequest):
            key_name(family, choice)


@pytest.mark.parametrize("kind", KEY_NAMES)
def test_a_key_is_made_and_sealed(people: People, kind: str) -> None:
    """KEY-1, KEY-4: PKCS#8, sealed under SECRET_KEY; the event names the creator and holds no part of the key."""
    key = people.key(kind)
    assert (key.name, key.owner_id) == (f"my {kind}", people.alice.owner_id)
    text = result_of(people.keys.private_pem(people.alice, key.id))
    assert text.startswith("-----BEGIN PRIVATE KEY-----\n")
    described = describe_private_key(load_private_key(text))
    assert (described.text, described.spki, described.key_id) == (key.key_type, key.spki, key.key_id)
    database = (people.stack.files.folder / "pikachu.sqlite").read_bytes()
    plain = people.stack.app.sealer.open("key", key.sealed, key_row(key.id, key.key_id))
    assert plain not in key.sealed
    assert plain[-24:] not in database
    event = people.events()[0].event
    assert (event.type, event.resource_name, event.actor, event.owner_id) == (
        "create",
        key.name,
        "alice",
        people.alice.owner_id,
    )
    assert event.details == {"key": key.key_type, "ip": "192.0.2.7"}


def test_each_look_at_a_private_key_is_recorded(people: People) -> None:
    """KEY-3, KEY-4: a view, a download, and whether it was encrypted."""
    key = people.key()
    result_of(people.keys.private_pem(people.alice, key.id))
    text = result_of(people.keys.private_pem(people.root, key.id, "a passphrase", downloaded=True))
    assert text.startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert describe_private_key(load_private_key(text, "a passphrase")).spki == key.spki
    failure_of(people.keys.private_pem(people.alice, key.id, ""), MalformedRequest)
    failure_of(people.keys.private_pem(people.alice, key.id, "x" * 2000), MalformedRequest)
    found = [(one.event.type, one.event.actor, one.event.details["encrypted"]) for one in people.events()[1:]]
    assert found == [("view", "alice", False), ("download", "root", True)]
    assert "a passphrase" not in repr(people.events())


def test_who_sees_a_key(people: People) -> None:
    """KEY-2, KEY-3: its owner and admins; for others it is not there; no restricted token sees the private half."""
    key, keys = people.key(), people.keys
    for call in (keys.get, keys.use, keys.delete, keys.private_pem, keys.opened):
        failure_of(call(people.bob, key.id), NotFound)
        failure_of(call(ANONYMOUS, key.id), AuthenticationFailed)
        failure_of(call(people.alice, key.id + 9), NotFound)
    assert result_of(keys.list(people.bob, ListQuery())).items == ()
    assert result_of(keys.list(people.bob, ListQuery(owner_id=people.alice.owner_id))).items == ()
    for actor in (people.alice, people.root):
        assert [one.id for one in result_of(keys.list(actor, ListQuery())).items] == [key.id]
    readers = people.restricted(people.alice, Scope.READ)
    assert result_of(keys.get(readers, key.id)).id == key.id
    for scopes in ((Scope.READ,), (Scope.ENROLL,), (Scope.READ, Scope.ENROLL)):
        token = people.restricted(people.alice, *scopes)
        failure_of(keys.private_pem(token, key.id), NotAuthorized)
    failure_of(keys.generate(readers, "x", "ed25519"), NotAuthorized)
    failure_of(keys.delete(readers, key.id), NotAuthorized)
    # An admin's token without the scope admin has what a user has.
    token = people.restricted(people.root, Scope.READ, Scope.ENROLL, Scope.REVOKE)
    failure_of(keys.get(token, key.id), NotFound)


def test_bad_names(people: People) -> None:
    """A key has a name that can be shown."""
    for name in ("", "  ", "x" * 129, "a\nb", "\u202e"):
        failure_of(people.keys.generate(people.alice, name, "ed25519"), MalformedRequest)
    failure_of(people.keys.generate(people.alice, "x", "rsa512"), UnsupportedAlgorithm)
    assert people.events() == []


def test_deletion_tells_of_use(people: People) -> None:
    """KEY-5: how many requests and certificates use it; both stay when it goes."""
    key = people.key()
    csr = result_of(people.requests.generate(people.alice, "", RequestSource(key.id, text=REQUEST)))
    issued = result_of(people.stack.app.registration.sign(people.alice, csr.der, Method.UI))
    assert isinstance(issued, Issued)
    assert result_of(people.keys.use(people.alice, key.id)) == KeyUse(1, 1)
    result_of(people.keys.delete(people.alice, key.id))
    failure_of(people.keys.get(people.alice, key.id), NotFound)
    assert result_of(people.stack.app.requests.get(people.alice, csr.id)) == csr
    event = people.events()[-1].event
    assert (event.type, event.details["requests"], event.details["certificates"]) == ("delete", 1, 1)


def test_another_secret_key(people: People) -> None:
    """KEY-4: a key sealed under another SECRET_KEY gives an error that says so; lists and deletion still work."""
    key = people.key()
    app = people.stack.app
    keys = Keys(app.store, Sealer(b"another secret key"), app.issuers, ImmediatePool(), people.stack.clock)
    for call in (keys.private_pem, keys.opened):
        error = failure_of(call(people.alice, key.id), SecretKeyChanged)
        assert "SECRET_KEY" in error.public
    assert result_of(keys.get(people.alice, key.id)) == key
    result_of(keys.delete(people.alice, key.id))


# --- requests --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [name for name in KEY_NAMES if name not in ("rsa3072", "rsa4096")])
def test_request_of_a_key(people: People, kind: str) -> None:
    """CSR-1, CSR-2, PQC-1: any kind of key signs; the preview says what the request says then."""
    key = people.key(kind)
    source = RequestSource(key.id, text=REQUEST)
    preview = result_of(people.requests.preview(people.alice, source))
    view = preview.view
    assert people.events("CSR") == []
    stored = result_of(people.requests.generate(people.alice, " the cellar ", source))
    csr = parse_csr(stored.der)
    assert verify_csr(csr).spki == key.spki
    assert (stored.name, stored.subject, stored.key_type) == (
        "the cellar",
        "CN=device.example.com,O=Example",
        key.key_type,
    )
    assert (stored.key_id, stored.template, stored.state) == (key.id, None, "pending")
    assert [one.text for one in csr.names] == ["DNS:device.example.com", "IP:192.0.2.1"]
    assert view_request(csr) == view
    assert view.parts == (("O", "Example"), ("CN", "device.example.com"))
    assert {one.name: one.critical for one in view.extensions} == {
        "X509v3 Key Usage": True,
        "X509v3 Subject Alternative Name": False,
    }
    shown = {one.name: one.values for one in view.attributes}
    assert shown == {"challengePassword": (HIDDEN,), "unstructuredName": ("cellar",)}
    assert csr_text(stored.der).startswith(preview.text)
    assert "Subject: CN=device.example.com,O=Example\n" in preview.text
    assert "a secret word" not in preview.text
    event = people.events("CSR")[0].event
    assert event.details["key_name"] == key.name
    assert "a secret word" not in repr(event)


def test_digests(people: People) -> None:
    """default_md is honoured for RSA and EC; the preview refuses a digest that no CA here accepts."""
    text = REQUEST.replace("prompt = no", "prompt = no\ndefault_md = {}", 1)
    for kind, name in (("rsa2048", "RSA with SHA-512"), ("prime256v1", "ECDSA with SHA-512"), ("ed25519", "Ed25519")):
        source = RequestSource(people.key(kind).id, text=text.format("sha512"))
        made = result_of(people.requests.generate(people.alice, "", source))
        assert result_of(people.requests.preview(people.alice, source)).view.signature == name
        verify_csr(parse_csr(made.der))
    source = RequestSource(people.key().id, text=text.format("sha3-256"))
    for failed in (people.requests.preview(people.alice, source), people.requests.generate(people.alice, "", source)):
        failure_of(failed, UnsupportedAlgorithm)


def test_stored_template(people: People) -> None:
    """CSR-1: a stored template is named in the request; one of somebody else is not found."""
    templates, key = people.stack.app.templates, people.key()
    mine = result_of(templates.add(people.alice, TemplateDraft("devices", "Device", REQUEST)))
    stored = result_of(people.requests.generate(people.alice, "", RequestSource(key.id, mine.id)))
    assert (stored.name, stored.template) == ("device.example.com", "devices")
    assert people.events("CSR")[0].event.details["template"] == "devices"
    others = result_of(templates.add(people.bob, TemplateDraft("his", "Device", REQUEST)))
    extensions = result_of(
        templates.add(people.alice, TemplateDraft("server", "TLS server", "[ v3_ext ]\nkeyUsage = cRLSign\n"))
    )
    for wrong, kind in (
        (RequestSource(key.id, others.id), NotFound),
        (RequestSource(key.id, 77), NotFound),
        (RequestSource(key.id, extensions.id), BadTemplate),
        (RequestSource(key.id, mine.id, REQUEST), MalformedRequest),
        (RequestSource(key.id), MalformedRequest),
        (RequestSource(77, mine.id), NotFound),
        (RequestSource(people.key(actor=people.bob).id, mine.id), NotFound),
    ):
        failure_of(people.requests.preview(people.alice, wrong), kind)
        failure_of(people.requests.generate(people.alice, "", wrong), kind)
    reader = people.restricted(people.alice, Scope.READ)
    failure_of(people.requests.generate(reader, "", RequestSource(key.id, mine.id)), NotAuthorized)
    failure_of(people.requests.preview(ANONYMOUS, RequestSource(key.id, mine.id)), AuthenticationFailed)


def test_bad_texts(people: People) -> None:
    """TPL-2: the line that is wrong is named; a name that no CA here would certify is refused before it is signed."""
    key = people.key()
    wrong = REQUEST.replace("keyUsage = critical, digitalSignature", "keyUsage = digitalSignatur")
    failure = failure_of(people.requests.preview(people.alice, RequestSource(key.id, text=wrong)), BadTemplate)
    assert failure.line == 13
    wrong = REQUEST.replace("DNS:device.example.com", "DNS:not a name")
    failure_of(people.requests.generate(people.alice, "", RequestSource(key.id, text=wrong)), BadCSR)
    for text in ("", "x" * 70_000):
        failure_of(people.requests.preview(people.alice, RequestSource(key.id, text=text)), BadTemplate)


# --- PKCS#12 ---------------------------------------------------------------------------------


def certificate(people: People, key: StoredKey) -> Issued:
    csr = result_of(people.requests.generate(people.alice, "", RequestSource(key.id, text=REQUEST)))
    issued = result_of(people.stack.app.registration.sign(people.alice, csr.der, Method.UI))
    assert isinstance(issued, Issued)
    return issued


def test_pfx(people: People) -> None:
    """CRT-4: certificate, key and chain under the passphrase; recorded, without the passphrase."""
    key = people.key("rsa2048")
    record = certificate(people, key).record
    assert result_of(people.keys.has_key(people.alice, record))
    made = result_of(people.keys.pfx(people.alice, record, "correct horse"))
    private, leaf, others = pkcs12.load_key_and_certificates(made, b"correct horse")
    assert isinstance(private, rsa.RSAPrivateKey)
    assert describe_private_key(private).spki == key.spki
    assert leaf is not None
    assert leaf.serial_number == record.serial
    assert len(others) == 2
    with pytest.raises(ValueError, match="password"):
        pkcs12.load_key_and_certificates(made, b"wrong")
    event = people.events()[-1].event
    assert (event.type, event.details["format"]) == ("download", "PKCS#12")
    assert "correct horse" not in repr(event)


def test_pfx_is_refused(people: People) -> None:
    """CRT-4: without the key here, for others, for restricted tokens, without a passphrase, and for ML-DSA."""
    keys = people.keys
    record = certificate(people, people.key()).record
    assert not result_of(keys.has_key(people.bob, record))
    failure_of(keys.pfx(people.bob, record, "correct horse"), NotFound)
    token = people.restricted(people.alice, Scope.READ, Scope.ENROLL)
    failure_of(keys.pfx(token, record, "correct horse"), NotAuthorized)
    failure_of(keys.pfx(people.alice, record, ""), MalformedRequest)
    elsewhere = people.stack.issue(owner_id=people.alice.owner_id).record
    assert not result_of(keys.has_key(people.alice, elsewhere))
    failure_of(keys.pfx(people.alice, elsewhere, "correct horse"), NotFound)
    pqc = certificate(people, people.key("mldsa65")).record
    failure = failure_of(keys.pfx(people.alice, pqc, "correct horse"), UnsupportedAlgorithm)
    assert "ML-DSA" in failure.public


def test_making_many_keys(people: People) -> None:
    """KEY-1: key generation has its own threads, and no account can occupy all places in the queue."""
    pool, stack = HeldPool(), people.stack
    keys = Keys(stack.app.store, stack.app.sealer, stack.app.issuers, pool, stack.clock)
    making = [keys.generate(people.alice, f"key {number}", "prime256v1") for number in range(AT_ONCE)]
    failure_of(keys.generate(people.alice, "one more", "prime256v1"), Overloaded)
    making.append(keys.generate(people.bob, "bob's", "prime256v1"))
    for go in pool.waiting:
        go.callback(None)
    assert len({result_of(one).id for one in making}) == AT_ONCE + 1
    failing = keys.generate(people.alice, "unknown", "none")
    pool.waiting[-1].callback(None)
    failure_of(failing, UnsupportedAlgorithm)
    again = keys.generate(people.alice, "one more", "prime256v1")
    pool.waiting[-1].callback(None)
    assert result_of(again).name == "one more"
    # The places of keys that were made, or failed, are free again.
    making = [keys.generate(people.alice, f"key {number}", "prime256v1") for number in range(AT_ONCE)]
    for go in pool.waiting[-AT_ONCE:]:
        go.callback(None)
    assert len({result_of(one).id for one in making}) == AT_ONCE
    pools = threaded_pools(Clock())  # type: ignore[arg-type]
    assert pools.keys is not pools.signing


# --- keys that were made elsewhere ----------------------------------------------------------


def rsa_key_with_a_composite_factor() -> rsa.RSAPrivateKey:
    """Numbers that belong together, of which one factor is no prime."""
    while True:
        small = rsa.generate_private_key(65537, 1024).private_numbers()
        q = rsa.generate_private_key(65537, 2048).private_numbers().q
        p, e = small.p * small.q, 65537
        if math.gcd(e, (p - 1) * (q - 1)) == 1 and (p * q).bit_length() == 2048:
            d = pow(e, -1, math.lcm(p - 1, q - 1))
            public = rsa.RSAPublicNumbers(e, p * q)
            numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public)
            return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def test_import(people: People) -> None:
    """It belongs to the actor, or to whom an admin names, is sealed and recorded; a second time it is known."""
    made = generate_private_key("prime256v1")
    data = private_key_pem(made, "secret").encode()
    key = result_of(people.keys.import_key(people.alice, " imported ", data, "secret"))
    assert (key.name, key.key_type, key.owner_id) == ("imported", "EC/prime256v1", people.alice.owner_id)
    assert private_key_info(made) not in key.sealed
    assert private_key_info(result_of(people.keys.opened(people.alice, key.id))[1]) == private_key_info(made)
    event = people.events()[-1].event
    assert (event.type, event.resource_name, event.details["imported"]) == ("create", "imported", True)
    assert "imported" in failure_of(people.keys.import_key(people.alice, "again", data, "secret"), Conflict).public
    assert result_of(people.keys.import_key(people.bob, "mine too", data, "secret")).owner_id == people.bob.owner_id
    other = private_key_pem(generate_private_key("ed25519")).encode()
    failure_of(people.keys.import_key(people.bob, "x", other, owner_id=people.alice.owner_id), NotAuthorized)
    given = result_of(people.keys.import_key(people.root, "x", other, owner_id=people.alice.owner_id))
    assert given.owner_id == people.alice.owner_id


def test_import_refusals(people: People) -> None:
    """Nobody without the right, no weak key, none whose signatures do not verify; nothing is stored then."""
    good = private_key_pem(generate_private_key("prime256v1"), "secret").encode()
    weak = private_key_pem(rsa.generate_private_key(65537, 1024)).encode()
    composite = private_key_pem(rsa_key_with_a_composite_factor()).encode()
    before = len(people.events())
    failure_of(people.keys.import_key(ANONYMOUS, "x", good, "secret"), AuthenticationFailed)
    failure_of(people.keys.import_key(people.restricted(people.alice, Scope.READ), "x", good, "secret"), NotAuthorized)
    failure_of(people.keys.import_key(people.alice, "", good, "secret"), MalformedRequest)
    for passphrase in (None, "", "wrong"):
        failure_of(people.keys.import_key(people.alice, "x", good, passphrase), MalformedRequest)
    failure_of(people.keys.import_key(people.alice, "x", weak), BadPublicKey)
    assert "do not verify" in failure_of(people.keys.import_key(people.alice, "x", composite), MalformedRequest).public
    assert result_of(people.keys.list(people.alice, ListQuery())).items == ()
    assert len(people.events()) == before


def test_compatible_pfx(people: People) -> None:
    """CRT-4: triple DES and a MAC under SHA-1, when asked for; the event says so."""
    key = people.key()
    csr = result_of(people.requests.generate(people.alice, "", RequestSource(key.id, text=REQUEST)))
    issued = result_of(people.stack.app.registration.sign(people.alice, csr.der, Method.UI))
    assert isinstance(issued, Issued)
    for compatible, digest, scheme in (
        (False, "2.16.840.1.101.3.4.2.1", "1.2.840.113549.1.5.13"),
        (True, "1.3.14.3.2.26", "1.2.840.113549.1.12.1.3"),
    ):
        data = result_of(people.keys.pfx(people.alice, issued.record, "secret", compatible=compatible))
        file = read_file(data)
        assert file.mac is not None
        assert file.mac.algorithm.sub()[0].oid() == digest
        assert {part.encryption.sub()[0].oid() for part in file.contents if part.encryption} == {scheme}
        assert describe_private_key(read_key_file(data, "secret").private_key).spki == key.spki
        assert ("compatible" in str(people.events()[-1].event.details["format"])) is compatible
