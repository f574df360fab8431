"""Requests that are bound to their TLS session (RFC 7030 section 3.5, RFC 9266)."""

from __future__ import annotations

from pathlib import Path

import pytest
from OpenSSL import SSL

from pikachu.core.model.policies import PolicyLimits
from pikachu.protocols.est.messages import decode_body
from pikachu.server.listeners import ClientCertificates
from pikachu.x509.csr import CHALLENGE_PASSWORD
from tests.protocols.est.refusals import refused
from tests.support.csrattrs import parse_csrattrs
from tests.support.est import EST, channel_binding, est_server
from tests.support.pki import make_csr

VERSIONS = pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
LINKED = PolicyLimits(linked=True)


@VERSIONS
def test_linked(est: EST, version: int) -> None:
    """tls-unique on TLS 1.2, tls-exporter on TLS 1.3; it authenticates nobody by itself."""
    tls = est.connect(version=version)
    value = channel_binding(tls)
    assert len(value) == (16 if version == SSL.TLS1_2_VERSION else 44)
    _, csr = make_csr(challenge=value)
    refused(est.enroll(csr, tls=tls), 401)
    est.certificate(est.enroll(csr, user="alice", tls=tls))


@VERSIONS
def test_another_connection(est: EST, version: int) -> None:
    """Another connection's value is wrong."""
    _, csr = make_csr(challenge=channel_binding(est.connect(version=version)))
    tls = est.connect(version=version)
    assert "channel binding" in refused(est.enroll(csr, user="alice", tls=tls), 400)
    refused(est.enroll(csr, user="alice"), 400)
    refused(est.enroll(csr, tls=tls), 401)
    assert est.issued() == 0


@pytest.mark.parametrize("value", ["", "AAAA", "\u00e9", "secret", "A" * 255])
def test_wrong_values(est: EST, value: str) -> None:
    """A value that is neither a channel binding nor an available challenge password is refused."""
    refused(est.enroll(make_csr(challenge=value)[1], user="alice", tls=est.connect()), 400)


@VERSIONS
def test_resumed_session(est: EST, version: int) -> None:
    """In a resumed handshake of TLS 1.2 the first Finished message is the server's."""
    first = est.connect(version=version)
    assert est.get_on(first, "cacerts").status == 200
    octets = first.octets_from_server
    tls = est.connect(version=version, resume=first)
    # No certificate was sent.
    assert tls.octets_from_server < octets - 1000
    _, csr = make_csr(challenge=channel_binding(tls, resumed=True))
    est.certificate(est.enroll(csr, user="alice", tls=tls))


@VERSIONS
def test_resumed_session_of_a_client_certificate(est: EST, version: int) -> None:
    """The certificate of the first handshake still counts, as long as it is not revoked."""
    device = est.identity()
    first = est.connect(device, version=version)
    assert est.get_on(first, "cacerts").status == 200
    tls = est.connect(version=version, resume=first)
    est.certificate(est.enroll(make_csr()[1], tls=tls))
    est.stack.revoke(device.certificate.serial_number)
    refused(est.enroll(make_csr()[1], tls=est.connect(version=version, resume=first)), 403)


@VERSIONS
def test_client_certificate(est: EST, version: int) -> None:
    """EST-3: re-enrollment with proof of possession by channel binding."""
    device = est.identity()
    tls = est.connect(device, version=version, clients=ClientCertificates.REQUIRED)
    _, csr = make_csr(key=device.key, challenge=channel_binding(tls))
    est.certificate(est.enroll(csr, "simplereenroll", tls=tls))
    _, wrong = make_csr(key=device.key, challenge="A" * 16)
    refused(est.enroll(wrong, "simplereenroll", tls=tls), 400)


def test_demanded_by_the_policy(est: EST) -> None:
    """csrattrs names challengePassword, and a request without it is refused."""
    est.policy("linked", limits=LINKED)
    attributes = parse_csrattrs(decode_body(est.get("csrattrs").body))
    assert [attribute.oid for attribute in attributes] == [CHALLENGE_PASSWORD]
    tls = est.connect()
    assert "challengePassword" in refused(est.enroll(make_csr()[1], user="alice", tls=tls), 400)
    est.certificate(est.enroll(make_csr(challenge=channel_binding(tls))[1], user="alice", tls=tls))
    # A one-time password is no link to the session, and stays available.
    owner = est.account("owner")
    text = est.challenge(owner)
    refused(est.enroll(make_csr(challenge=text)[1], tls=tls), 400)
    refused(est.enroll(make_csr()[1], "serverkeygen", user="alice", tls=tls), 400)


@VERSIONS
def test_the_key_of_the_tls_client_links(est: EST, version: int) -> None:
    """A renewal with the key of the TLS client certificate needs no channel binding; any other key does."""
    est.policy("linked", limits=LINKED)
    device = est.identity()
    tls = est.connect(device, version=version)
    for operation in ("simplereenroll", "simpleenroll"):
        est.certificate(est.enroll(make_csr(key=device.key)[1], operation, tls=tls))
        assert "challengePassword" in refused(est.enroll(make_csr(key_type="p384")[1], operation, tls=tls), 400)
    bound = make_csr(key_type="p384", challenge=channel_binding(tls))[1]
    est.certificate(est.enroll(bound, "simplereenroll", tls=tls))
    # What is sent is still judged.
    refused(est.enroll(make_csr(key=device.key, challenge="A" * 16)[1], "simplereenroll", tls=tls), 400)
    # The key that serverkeygen makes is no client's.
    refused(est.enroll(make_csr(key=device.key)[1], "serverkeygen", tls=tls), 400)
    # Without the client certificate the same request proves nothing about the connection.
    refused(est.enroll(make_csr(key=device.key)[1], user="alice", tls=est.connect(version=version)), 400)


def test_demanded_by_the_configuration(tmp_path: Path) -> None:
    """``require_linking``."""
    with est_server(tmp_path / "another", changes={("EST", "require_linking"): "true"}) as est:
        est.account("alice")
        refused(est.enroll(make_csr()[1], user="alice"), 400)
        tls = est.connect()
        est.certificate(est.enroll(make_csr(challenge=channel_binding(tls))[1], user="alice", tls=tls))
