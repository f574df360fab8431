# mypy: allow-untyped-calls
"""Listeners (RUN-2, RUN-4, RUN-5, RUN-6) and TLS."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from twisted.internet.protocol import Factory, Protocol
from twisted.logger import capturedLogs

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from pikachu.core.errors import ConfigError
from pikachu.http.peer import channel_bindings, peer_certificate
from pikachu.server.listeners import ClientCertificates, TLSContextSource
from tests.integration.tls_world import REQUEST, World, client_context
from tests.support import pki
from tests.support.connections import TLS, Plain

PAST = datetime.now(UTC) - timedelta(days=1)
LONG_PAST = PAST - timedelta(days=30)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


VERSIONS = pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])


@pytest.mark.parametrize("version", [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION])
def test_old_versions(world: World, version: int) -> None:
    """TLS 1.0 and 1.1 are refused."""
    context = client_context(version=version)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    client = world.client(context=context)
    with pytest.raises(SSL.Error, match="protocol version"):
        client.handshake()


@pytest.mark.parametrize(
    "ciphers", [b"aNULL:@SECLEVEL=0", b"eNULL:@SECLEVEL=0", b"AES128-SHA:@SECLEVEL=0", b"ECDHE-ECDSA-AES128-SHA"]
)
def test_weak_ciphers(world: World, ciphers: bytes) -> None:
    """Neither anonymous nor without encryption, forward secrecy or authenticated encryption."""
    context = client_context(version=SSL.TLS1_2_VERSION)
    context.set_cipher_list(ciphers)
    with pytest.raises(SSL.Error):
        world.client(context=context).handshake()


@pytest.mark.parametrize("key_type", ["rsa2048", "p256", "p384", "ed25519", "mldsa44", "mldsa65", "mldsa87"])
@VERSIONS
def test_server_keys(tmp_path: Path, key_type: str, version: int) -> None:
    """RUN-6: certificates of every kind serve TLS 1.3, and of every kind that it knows TLS 1.2."""
    world = World(tmp_path, key_type)
    client = world.client(version=version)
    if key_type.startswith("mldsa") and version == SSL.TLS1_2_VERSION:
        with pytest.raises(SSL.Error):
            client.handshake()
        return
    client.handshake()
    assert client.request(REQUEST).endswith(b"\r\n\r\nok")
    chain = client.client.get_peer_cert_chain(as_cryptography=True)
    assert chain == [world.server.certificate, world.ca.certificate, world.root.certificate]


@VERSIONS
def test_no_client_certificate_asked_for(world: World, version: int) -> None:
    """Browsers are not asked."""
    client = world.client(pki.make_leaf(world.ca), version)
    client.handshake()
    client.request(REQUEST)
    assert world.resource.certificate is None
    assert client.client.get_client_ca_list() == []


Make = Callable[[World], pki.Identity | None]
MATRIX: list[tuple[str, Make, bool]] = [
    # What a client presents, and whether the handshake of the trusted port completes.
    ("none", lambda world: None, False),
    ("good", lambda world: pki.make_leaf(world.ca), True),
    ("good RSA", lambda world: pki.make_leaf(world.ca, key_type="rsa2048"), True),
    ("good Ed25519", lambda world: pki.make_leaf(world.ca, key_type="ed25519"), True),
    ("expired", lambda world: pki.make_leaf(world.ca, not_before=LONG_PAST, not_after=PAST), True),
    ("no clientAuth", lambda world: pki.make_leaf(world.ca, purposes=[ExtendedKeyUsageOID.SERVER_AUTH]), True),
    ("foreign", lambda world: pki.make_leaf(world.foreign), False),
    ("expired foreign", lambda world: pki.make_leaf(world.foreign, not_before=LONG_PAST, not_after=PAST), False),
    ("foreign, our CA's name", lambda world: pki.make_leaf(pki.make_ca("p256", "Issuing CA")), False),
    ("below the root, not the CA", lambda world: pki.make_leaf(world.root), False),
    ("below a client", lambda world: pki.make_leaf(pki.make_leaf(world.ca)), False),
    ("self-signed", lambda world: pki.make_ca("p256", "self"), False),
]


@VERSIONS
@pytest.mark.parametrize(("make", "trusted"), [case[1:] for case in MATRIX], ids=[case[0] for case in MATRIX])
def test_client_certificates(world: World, make: Make, trusted: bool, version: int) -> None:
    """On the trusted port a missing or untrusted one fails the handshake, an expired
    one or one of another purpose reaches the application; where it is optional all of them do.
    """
    identity = make(world)
    optional = world.client(identity, version, source=world.source(ClientCertificates.OPTIONAL))
    optional.handshake()
    assert optional.request(REQUEST).endswith(b"ok")
    assert world.resource.certificate == (identity.der if identity else None)
    names = [name.der() for name in optional.client.get_client_ca_list()]
    assert names == [world.ca.subject_der]

    world.resource.certificate = None
    required = world.client(identity, version, source=world.source(ClientCertificates.REQUIRED))
    if not trusted or identity is None:
        with pytest.raises(SSL.Error):
            required.handshake()
        assert world.resource.certificate is None
        return
    required.handshake()
    assert required.request(REQUEST).endswith(b"ok")
    assert world.resource.certificate == identity.der
    assert world.resource.name == "device.example.com"


def resume(
    world: World, source: TLSContextSource, version: int, identity: pki.Identity | None = None
) -> tuple[TLS, TLS]:
    """A connection, and one that resumes its session."""
    context = client_context(identity, version)
    first = world.client(context=context, source=source)
    first.handshake()
    first.request(REQUEST)
    session = first.client.get_session()
    second = world.client(context=context, source=source, session=session)
    second.handshake()
    return first, second


@VERSIONS
def test_resumption(world: World, version: int) -> None:
    """RUN-6: sessions resume by ticket, and keep the client's certificate."""
    identity = pki.make_leaf(world.ca)
    first, second = resume(world, world.source(ClientCertificates.REQUIRED), version, identity)
    world.resource.certificate = None
    assert second.request(REQUEST).endswith(b"ok")
    assert world.resource.certificate == identity.der
    if version == SSL.TLS1_2_VERSION:
        assert second.client.master_key() == first.client.master_key()
    # Only a full handshake carries the server's three certificates.
    assert second.octets_from_server < first.octets_from_server - 1000


def test_reload_ends_old_tickets(world: World) -> None:
    """A TLS session from before a reload is not resumed under the new trust settings."""
    identity = pki.make_leaf(world.ca)
    source = world.source(ClientCertificates.REQUIRED)
    context = client_context(identity, SSL.TLS1_2_VERSION)
    first = world.client(context=context, source=source)
    first.handshake()
    session = first.client.get_session()
    world.ca = world.foreign
    source.reload()
    with pytest.raises(SSL.Error):
        world.client(context=context, source=source, session=session).handshake()


def test_new_authorities_need_no_files(world: World) -> None:
    """VLT-4: the next generation's clients are let in, also when the listener's own files can't be read just then."""
    before, after = pki.make_leaf(world.ca), pki.make_leaf(world.foreign)
    authorities = [("a CA", world.ca.der)]
    source = world.source(ClientCertificates.REQUIRED, lambda: authorities)
    open_connection = world.client(before, source=source)
    open_connection.handshake()
    with pytest.raises(SSL.Error):
        world.client(after, source=source).handshake()
    authorities.append(("another CA", world.foreign.der))
    world.certificate.unlink()
    world.key.write_text("no key")
    source.trust_new_authorities()
    for identity in (before, after):
        world.client(identity, source=source).handshake()
    assert open_connection.request(REQUEST).endswith(b"ok")


def test_tls_unique(world: World) -> None:
    """The client's tls-unique (RFC 5929) is among the values, in full and resumed handshakes."""
    first, second = resume(world, world.source(), SSL.TLS1_2_VERSION)
    own = first.client.get_finished()
    assert own is not None
    assert base64.b64encode(own).decode() in world.resource.bindings
    assert second.client.master_key() == first.client.master_key()
    second.request(REQUEST)
    theirs = second.client.get_peer_finished()
    assert theirs is not None
    assert base64.b64encode(theirs).decode() in world.resource.bindings
    assert {len(value) for value in world.resource.bindings} == {16}


def test_tls_exporter(world: World) -> None:
    """RFC 9266's value in TLS 1.3, another for each connection, never a Finished message."""
    seen = []
    for client in resume(world, world.source(), SSL.TLS1_3_VERSION):
        client.request(REQUEST)
        value = client.client.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        assert world.resource.bindings == (base64.b64encode(value).decode(),)
        seen.append(value)
    assert seen[0] != seen[1]


def test_plain_connections_have_nothing(world: World) -> None:
    """No certificate and no binding without TLS, and none when the connection is gone."""
    assert Plain(world.site, world.clock).send(REQUEST).endswith(b"ok")
    assert (world.resource.certificate, world.resource.bindings, world.resource.name) == (None, (), None)
    client = world.client()
    client.handshake()
    client.transport.loseConnection()
    assert channel_bindings(client.server) == ()
    assert peer_certificate(client.server) is None


class Pieces(Protocol):
    """Counts what TLS hands on."""

    count = 0

    def dataReceived(self, data: bytes) -> None:
        self.count += 1


def test_small_records(world: World) -> None:
    """RUN-6: of thousands of records of one byte some are decrypted in a turn, which leaves time for others."""
    factory = Factory.forProtocol(Pieces)
    client = TLS(world.source(), factory, client_context(), world.clock)
    client.handshake()
    for _ in range(3000):
        client.client.send(b"x")
    pieces: Pieces = client.server.wrappedProtocol
    turns: list[int] = []
    while sum(turns) < 3000:
        client.server.dataReceived(client.client.bio_read(client.transport.bufferSize))
        turns.append(pieces.count - sum(turns))
    assert max(turns) < 500


def test_one_record(world: World) -> None:
    """Header and body leave in one TLS record."""
    client = world.client()
    client.handshake()
    client.client.send(REQUEST)
    client.server.dataReceived(client.client.bio_read(1 << 16))
    client.clock.advance(0)
    records = client.transport.value()
    assert int.from_bytes(records[3:5], "big") + 5 == len(records)


def test_alpn(world: World) -> None:
    """Only HTTP/1.1 is negotiated, also with a client that prefers HTTP/2."""
    context = client_context()
    context.set_alpn_protos([b"h2", b"http/1.1"])
    client = world.client(context=context)
    client.handshake()
    assert client.client.get_alpn_proto_negotiated() == b"http/1.1"


def test_stalled_handshake(world: World) -> None:
    """A handshake that does not come to its end is given up."""
    client = world.client()
    client.pump()
    world.clock.advance(31)
    assert not client.transport.connected


def test_reload_keeps_connections(world: World, tmp_path: Path) -> None:
    """RUN-5: new connections get the new certificate, old ones go on."""
    source = world.source()
    old = world.client(source=source)
    old.handshake()
    renewed = pki.make_leaf(world.ca, "renewed", sans=["localhost"])
    renewed.write(tmp_path, "tls")
    source.reload()
    new = world.client(source=source)
    new.handshake()
    assert new.client.get_peer_certificate(as_cryptography=True) == renewed.certificate
    assert old.request(REQUEST).endswith(b"ok")
    world.key.unlink()
    with pytest.raises(ConfigError):
        source.reload()
    still = world.client(source=source)
    still.handshake()
    assert still.client.get_peer_certificate(as_cryptography=True) == renewed.certificate


def test_files_that_do_not_serve(world: World, tmp_path: Path) -> None:
    """RUN-4, INIT-4: one line each, naming section, key and file."""
    other = pki.make_leaf(world.ca)
    good = world.key.read_bytes()

    def complaint() -> str:
        with pytest.raises(ConfigError) as caught:
            world.source()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    world.key.write_bytes(other.key_pem)
    assert complaint() == f"[HTTPS] ssl_key: {world.key} is not the key of the certificate in {world.certificate}"
    world.key.write_bytes(b"nonsense")
    assert complaint().startswith(f"[HTTPS] ssl_key: {world.key} does not hold a private key in PEM")
    world.key.write_bytes(pki.key_pem(world.server.key, b"passphrase"))
    assert "its passphrase is another one" in complaint()
    world.key.unlink()
    assert complaint() == f"[HTTPS] ssl_key: {world.key} does not exist; `pikachu init` makes it"
    world.key.mkdir()
    assert "can't be read (Is a directory)" in complaint()
    world.key.rmdir()
    world.key.write_bytes(good)
    world.certificate.write_bytes(b"nonsense")
    assert complaint() == f"[HTTPS] ssl_cert: {world.certificate} holds no certificate"
    if os.geteuid() != 0:
        world.certificate.chmod(0)
        assert "can't be read (Permission denied)" in complaint()


@pytest.mark.parametrize("policy", ["warn", "refuse"])
@pytest.mark.parametrize(("mode", "open_to_all"), [(0o600, False), (0o640, False), (0o644, True), (0o604, True)])
def test_a_key_that_every_account_can_read(world: World, mode: int, open_to_all: bool, policy: str) -> None:
    """INIT-3: the group may read the HTTPS key; a world-readable key gives a warning or an error, by setting."""
    world.key.chmod(mode)
    said = f"[HTTPS] ssl_key: {world.key} has mode 0{mode:o}, so every account on this machine can read the key "
    with capturedLogs() as events:
        if open_to_all and policy == "refuse":
            with pytest.raises(ConfigError) as caught:
                world.source(key_permissions=policy)
            assert str(caught.value).startswith(said)
        else:
            world.source(key_permissions=policy)
    messages = [event["message"] for event in events]
    assert len(messages) == int(open_to_all and policy == "warn")
    assert all(message.startswith(said) for message in messages)


def test_expired_certificate_is_a_warning(world: World, tmp_path: Path) -> None:
    """A server with an expired certificate still starts, so that the certificate can be replaced."""
    pki.make_leaf(world.ca, not_before=LONG_PAST, not_after=PAST).write(tmp_path, "tls")
    with capturedLogs() as events:
        world.source()
    assert [event["log_level"].name for event in events] == ["warn"]
    assert f"{PAST:%Y-%m-%d}" in events[0]["end"]
