"""Peer information of a connection: address, certificate, and channel bindings.

See also :mod:`pikachu.http.client_address`.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.interfaces import IAddress, ISSLTransport
from zope.interface import implementer

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
    """Return the TLS connection below *transport*; None for plain TCP and closed connections."""
    secure: Any = ISSLTransport(transport, None)
    handle = secure.getHandle() if secure is not None else None
    return handle if isinstance(handle, SSL.Connection) else None


def peer_certificate(transport: object) -> bytes | None:
    """Return the peer's DER certificate; the handshake proved possession of its key.

    On a port where certificates are optional nothing else is verified: the application checks issuer, dates and purpose
    (and answers 403, where a failed handshake would give the client no reason).  A resumed session has the certificate
    of its first handshake.
    """
    connection = tls_connection(transport)
    certificate = connection.get_peer_certificate() if connection is not None else None
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate) if certificate is not None else None


def required_certificate(transport: object) -> bytes | None:
    """Return the peer's certificate on a port where the handshake requires one, else None.

    People sign in with certificates on such a port only: elsewhere they are for devices, or browsers don't send them.
    """
    connection = tls_connection(transport)
    if connection is None or not connection.get_verify_mode() & SSL.VERIFY_FAIL_IF_NO_PEER_CERT:
        return None
    return peer_certificate(transport)


def peer_intermediates(transport: object, certificate: bytes | None = None) -> tuple[bytes, ...]:
    """Return the DER certificates that the peer sent besides its own, unverified; none in a resumed session.

    :param certificate: its own, where that is known already.
    """
    connection = tls_connection(transport)
    chain = connection.get_peer_cert_chain() if connection is not None else None
    if not chain:
        return ()
    certificate = certificate or peer_certificate(transport)
    # Only the beginning of an overlong chain is used.
    certificates = (crypto.dump_certificate(crypto.FILETYPE_ASN1, one) for one in chain[: MAXIMUM_INTERMEDIATES + 1])
    return tuple(one for one in certificates if one != certificate)


def common_name(certificate: bytes | None) -> str | None:
    """Return the first commonName of a DER certificate, or None where there is none."""
    if certificate is None:
        return None
    try:
        name = name_of(der.parse(identify(certificate).subject_der))
    except MalformedRequest:
        return None
    return next((attribute.value for rdn in name.rdns for attribute in rdn if attribute.oid == COMMON_NAME), None)


def channel_bindings(transport: object) -> tuple[str, ...]:
    """Return the base64 channel bindings, one of which a bound CSR has as challengePassword (RFC 7030 section 3.5).

    TLS 1.3: the exporter value of RFC 9266, 32 bytes.  TLS 1.2: tls-unique of RFC 5929 is the first Finished message of
    the handshake, the client's in a full one and the server's in a resumed one.  pyOpenSSL does not expose which it
    was, so both values are returned; either is known only to the two ends of this connection.
    """
    connection = tls_connection(transport)
    if connection is None:
        return ()
    if connection.get_protocol_version_name() == "TLSv1.3":
        values = [connection.export_keying_material(EXPORTER_LABEL, 32, b"")]
    else:
        values = [value for value in (connection.get_peer_finished(), connection.get_finished()) if value]
    return tuple(base64.b64encode(value).decode("ascii") for value in values)


@implementer(IAddress)
@dataclass(frozen=True, slots=True)
class UnrelayedAddress:
    """The address of a proxy that connected, and named no client.

    Either it speaks for itself, as in a health check, or it does not know its client's address.  What arrives may be a
    client's own, so no header is the proxy's word.
    """

    host: str


def peer_address(address: IAddress | None) -> str:
    """Return the peer's IP address as text, with IPv4-mapped addresses in IPv4 notation."""
    host = str(getattr(address, "host", None) or "-")
    return host[len(_MAPPED) :] if host.startswith(_MAPPED) and "." in host else host
