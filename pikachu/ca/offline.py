"""CAs above the issuing CAs whose keys are not on this server: their OCSP responders and what their CRLs revoke."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pikachu.auth.permissions import require_scope
from pikachu.ca.ca_requests import responder_request
from pikachu.ca.infrastructure import describe_own
from pikachu.ca.service_certificates import OCSP, Credential, ServiceCertificates, new_service_key, open_service_key
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import Conflict, MalformedRequest, NotFound
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.certificates import Infrastructure, IssuerRecord, RevocationReason, format_serial
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.times import utc
from pikachu.core.sealing import Sealer
from pikachu.signers.files import find_issuer
from pikachu.x509.certificate import OCSP_SIGNING, Certificate
from pikachu.x509.crl import revoked_serials
from pikachu.x509.keys import (
    PrivateKey,
    generate_private_key,
    public_key_matches,
)
from pikachu.x509.names import COMMON_NAME, build_name
from pikachu.x509.pem import pem
from pikachu.x509.spki import KeyDescription, describe_spki

# The keys of requests wait for their certificates beside the credentials.
_REQUEST = "ocsp-request"
_HOLD = RevocationReason.CERTIFICATE_HOLD


@dataclass(frozen=True, slots=True)
class OfflineCA:
    """A CA above the issuing CAs whose key is not on this server.

    :param chain: DER certificates from this CA to the root.
    """

    record: IssuerRecord
    certificate: Certificate
    chain: tuple[bytes, ...]

    @property
    def id(self) -> int:
        """The id of its row in the database."""
        return self.record.id

    @property
    def name(self) -> str:
        """``root``, or its key identifier in hex."""
        return self.record.name

    @property
    def key_identifier(self) -> bytes:
        """The subjectKeyIdentifier."""
        return self.certificate.key_identifier

    @property
    def key(self) -> KeyDescription:
        """The public key."""
        return describe_spki(self.certificate.spki_der)


class OfflineCAs:
    """The OCSP responders of offline CAs, and the revocations in their CRLs."""

    def __init__(
        self,
        store: IStore,
        cas: Sequence[OfflineCA],
        credentials: ServiceCertificates,
        sealer: Sealer,
        clock: IClock,
    ) -> None:
        self._store: IStore = store
        self._cas = tuple(cas)
        self._credentials = credentials
        self._sealer = sealer
        self._clock = clock

    def all(self) -> tuple[OfflineCA, ...]:
        """Return the offline CAs."""
        return self._cas

    # --- responders ---------------------------------------------------------------------

    async def responder(self, ca: OfflineCA) -> Credential | None:
        """Return the installed OCSP responder of a CA, or None when it has none that is valid.

        Fails with StoreUnavailable.
        """
        credential = await self._credentials.installed(ca, OCSP)
        return credential if credential is not None and credential.is_valid(utc(self._clock.seconds())) else None

    @uncancelled
    async def request(self, actor: Principal) -> str:
        """Return a PKCS#10 in PEM for a new OCSP responder of the offline root; for administrators.

        The key is stored here until the certificate comes.  Fails with Conflict when the root's key is on this server.
        """
        require_scope(actor, Scope.ADMIN)
        if not self._cas:
            raise Conflict("The root's key is on this server, which makes its OCSP responder by itself.")
        ca = self._cas[-1]
        key = generate_private_key(OCSP.key_type(ca.key))
        subject = build_name([(COMMON_NAME, f"{OCSP.label} of {ca.name}, {ca.key_identifier.hex()[:16]}")])
        request = responder_request(key, subject)
        now = utc(self._clock.seconds())
        credential = new_service_key(self._sealer, ca.key_identifier, _REQUEST, request, key)
        await self._store.put_service_credential(credential, now)
        await self._store.add_event(event_by(actor, "create", "responder", ca.name, None), now)
        return pem("CERTIFICATE REQUEST", request)

    @uncancelled
    async def install(self, actor: Principal, certificate: Certificate) -> OfflineCA:
        """Put an OCSP responder's certificate into service, for its issuer's certificates; for administrators.

        Fails with MalformedRequest when it is not a responder's certificate of an offline CA, and with NotFound when
        its key is not here.
        """
        require_scope(actor, Scope.ADMIN)
        issuer = find_issuer(certificate, [ca.certificate for ca in self._cas])
        if issuer is None:
            raise MalformedRequest("No CA whose key is elsewhere has issued this certificate.")
        if OCSP_SIGNING not in (certificate.extended_key_usage or ()):
            raise MalformedRequest("The certificate lacks the extended key usage OCSPSigning. Have it issued again.")
        now = utc(self._clock.seconds())
        if not certificate.not_before <= now < certificate.not_after:
            raise MalformedRequest("The certificate is not valid now. Check its dates and this machine's clock.")
        key = await self._requested_key(certificate)
        ca = next(one for one in self._cas if one.certificate is issuer)
        credential = new_service_key(self._sealer, ca.key_identifier, OCSP.name, certificate.der, key)
        event = event_by(actor, "install", "responder", ca.name, None, serial=format_serial(certificate.serial))
        own = describe_own(Infrastructure.OCSP_RESPONDER, certificate, issuer)
        await self._store.install_responder(own, credential.seal, event, now)
        return ca

    async def _requested_key(self, certificate: Certificate) -> PrivateKey:
        for ca in self._cas:
            for stored in await self._store.service_credentials(ca.key_identifier, _REQUEST):
                key = open_service_key(self._sealer, stored)
                if public_key_matches(key, certificate.spki_der):
                    return key
        raise NotFound("No key here belongs to this certificate. Make the request with `pikachu ca responder --csr`.")

    # --- CRLs ---------------------------------------------------------------------------

    async def apply_crl(self, actor: Principal, key_identifier: bytes, crl: bytes) -> None:
        """Revoke the issuing CAs and responders that a CRL of their offline CA lists, and release from hold the rest.

        :param crl: DER, verified.

        Fails with StoreUnavailable, and with MalformedRequest when an entry is malformed.
        """
        records = {record.serial: record for record in await self._store.issued_by_parent(key_identifier)}
        listed = revoked_serials(crl, records)
        now = utc(self._clock.seconds())
        for serial, record in records.items():
            digits = format_serial(serial)
            if serial in listed and serial > 0:
                revoked_at, reason = listed[serial]
                event = event_by(actor, "revoke", "certificate", digits, None, reason=reason.wire_name, by="CRL")
                await self._store.revoke(serial, revoked_at, reason, event, now)
            elif record.revoked_at is not None and record.reason is _HOLD:
                event = event_by(actor, "release", "certificate", digits, None, by="CRL")
                await self._store.release(serial, event, now)
