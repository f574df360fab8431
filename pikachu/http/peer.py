"""What a connection tells of its peer: address, certificate, and values that bind a request to the connection."""

from __future__ import annotations

import base64
from typing import Any, Final

from twisted.internet.interfaces import IAddress, ISSLTransport

from OpenSSL import SSL, crypto

from pikachu.auth.client_certificate import MAXIMUM_INTERMEDIATES
from pikachu.cms.identity import identify
from pikachu.core.errors import MalformedRequest
from pikachu.x509 import der
from pikachu.x509.names import COMMON_NAME
from pikachu.x509.text.descriptions import name_of

EXPORTER_LABEL: Final = b"EXPORTER-Channel-Binding"
_MAPPED: Final = "::ffff:"


def tls_connection(transport: object) -> SSL.Connection | None:
    """The TLS connection below *transport*; ``None`` for plain TCP and for a connection that is gone."""
    secure: Any = ISSLTransport(transport, None)
    handle = secure.getHandle() if secure is not None else None
    return handle if isinstance(handle, SSL.Connection) else None


def peer_certificate(transport: object) -> bytes | None:
    """The DER certificate that the peer presented, whose key it proved to have.

    On a port where certificates are optional nothing else is proven: issuer, dates and purpose are the
    application's to judge (it answers 403, where a failed handshake would tell the client nothing).
    A resumed session gives the certificate of its first handshake.
    """
    connection = tls_connection(transport)
    certificate = connection.get_peer_certificate() if connection is not None else None
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate) if certificate is not None else None


def required_certificate(transport: object) -> bytes | None:
    """The peer's certificate on a port where the handshake fails without one; ``None`` everywhere else.

    Only there people sign in with it: elsewhere browsers are not asked, or it is for devices.
    """
    connection = tls_connection(transport)
    if connection is None or not connection.get_verify_mode() & SSL.VERIFY_FAIL_IF_NO_PEER_CERT:
        return None
    return peer_certificate(transport)


def peer_intermediates(transport: object) -> tuple[bytes, ...]:
    """The DER certificates that the peer sent besides its own; none in a resumed session.  Nothing vouches for them."""
    connection = tls_connection(transport)
    chain = connection.get_peer_cert_chain() if connection is not None else None
    if not chain:
        return ()
    own = peer_certificate(transport)
    # Of a chain without end only the beginning is looked at.
    sent = (crypto.dump_certificate(crypto.FILETYPE_ASN1, one) for one in chain[: MAXIMUM_INTERMEDIATES + 1])
    return tuple(one for one in sent if one != own)


def peer_common_name(transport: object) -> str | None:
    """The first commonName of the peer's certificate, for the log; unproven, so only a hint."""
    certificate = peer_certificate(transport)
    if certificate is None:
        return None
    try:
        name = name_of(der.parse(identify(certificate).subject_der))
    except MalformedRequest:
        return None
    return next((attribute.value for rdn in name.rdns for attribute in rdn if attribute.oid == COMMON_NAME), None)


def channel_bindings(transport: object) -> tuple[str, ...]:
    """Base64 values, one of which a linked request carries as its challengePassword (RFC 7030 section 3.5).

    TLS 1.3: the exporter value of RFC 9266, 32 octets.  TLS 1.2: tls-unique of RFC 5929 is the first Finished
    message of the handshake, the client's in a full one and the server's in a resumed one.  Which it was can't be
    asked for here, so both values are given; either is known only to the two ends of this connection.
    """
    connection = tls_connection(transport)
    if connection is None:
        return ()
    if connection.get_protocol_version_name() == "TLSv1.3":
        values = [connection.export_keying_material(EXPORTER_LABEL, 32, b"")]
    else:
        values = [value for value in (connection.get_peer_finished(), connection.get_finished()) if value]
    return tuple(base64.b64encode(value).decode("ascii") for value in values)


def peer_address(address: IAddress | None) -> str:
    """The peer's IP address as text, an IPv4 one in its own notation also where the listener is an IPv6 socket."""
    host = str(getattr(address, "host", None) or "-")
    return host[len(_MAPPED) :] if host.startswith(_MAPPED) and "." in host else host
