"""The TLS settings of listeners, which trust each generation of the issuing CAs as it comes."""

from __future__ import annotations

from pathlib import Path

from pikachu.ca.infrastructure import ROOT
from pikachu.server.application import Application
from pikachu.server.listeners import ClientCertificates, TLSContextSource


def listener_tls(app: Application, listener: str) -> TLSContextSource | None:
    """Return the settings of ``https`` or ``trusted_https``; ``None`` for listeners without TLS.

    :raises ConfigError: one line.
    """
    https, trusted = app.config.https, app.config.trusted_https
    if listener == "https":
        assert https.ssl_cert is not None  # noqa: S101 - the configuration's checks require both
        assert https.ssl_key is not None  # noqa: S101
        clients = ClientCertificates.OPTIONAL if https.request_client_certificate else ClientCertificates.NONE
        return tls_source(app, "HTTPS", ("ssl_cert", https.ssl_cert), ("ssl_key", https.ssl_key), clients)
    if listener == "trusted_https":
        certificate = trusted.trusted_ssl_cert or https.ssl_cert
        key = trusted.trusted_ssl_key or https.ssl_key
        assert certificate is not None  # noqa: S101 - the configuration's checks require both
        assert key is not None  # noqa: S101
        return tls_source(
            app,
            "TRUSTED_HTTPS",
            ("trusted_ssl_cert", certificate),
            ("trusted_ssl_key", key),
            ClientCertificates.REQUIRED,
        )
    return None


def tls_source(
    app: Application, section: str, certificate: tuple[str, Path], key: tuple[str, Path], clients: ClientCertificates
) -> TLSContextSource:
    """Return TLS settings that follow the rotation of issuing CAs; see :class:`TLSContextSource`."""

    def authorities() -> list[tuple[str, bytes]]:
        issuing = [
            (f"[CA] SUBCA_CERT_PATH_{issuer.name.upper()}", issuer.certificate.der)
            for issuer in app.issuers.all()
            if issuer.name != ROOT
        ]
        return [*issuing, *(("[TRUSTED_HTTPS] client_ca", manufacturer.der) for manufacturer in app.manufacturers)]

    source = TLSContextSource(
        section,
        certificate,
        key,
        app.clock,
        clients=clients,
        authorities=authorities,
        key_permissions=app.config.https.key_permissions.value,
    )
    app.issuers.subscribe(lambda _: source.trust_new_authorities())
    return source
