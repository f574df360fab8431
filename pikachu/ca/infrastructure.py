"""The CA's own certificates: their inventory rows, and which issuing CAs are revoked (CAR-1).

Root, issuing CAs, roll-over certificates and HTTPS certificates are read from their files at each start and whenever a
generation enters service; what the CA issues to itself has its row from the moment it is issued.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.ca.generations import Generations
from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.core.concurrency import start
from pikachu.core.errors import ConfigError
from pikachu.core.infrastructure_interfaces import IInfrastructureStore
from pikachu.core.interfaces import IClock
from pikachu.core.model.certificates import (
    Infrastructure,
    OwnCertificate,
    RevokedCA,
    StatusChange,
    format_serial,
)
from pikachu.core.model.times import utc
from pikachu.signers.files import find_issuer, load_certificates
from pikachu.x509.certificate import Certificate, parse_certificate
from pikachu.x509.names import read_name
from pikachu.x509.spki import describe_spki

log = Logger()

#: The name of the root in paths, in commands and in the database.
ROOT: Final = "root"


class OwnCertificates:
    """Keeps the CA's own certificates in the inventory, and tells issuing CAs that they are revoked.

    :param root: the certificate that ``[CA] ROOT_CERT_PATH`` names, if any.
    :param https: the certificate files of the HTTPS listeners.
    """

    def __init__(
        self,
        store: IInfrastructureStore,
        issuers: IssuingCAs,
        generations: Generations,
        root: Certificate | None,
        https: Sequence[Path],
        clock: IClock,
        warn: Callable[[str], None],
    ) -> None:
        self._store = store
        self._issuers = issuers
        self._generations = generations
        self._root = root
        self._https = https
        self._clock = clock
        self._warn = warn

    # --- rows ---------------------------------------------------------------------------

    def register(self) -> None:
        """Register every certificate in the files, and learn which CAs are revoked; blocks.

        :raises StoreUnavailable: when the database does not answer.
        """
        self._report(self._store.register_own(self._found(), utc(self._clock.seconds())))
        self._apply(self._store.revoked_cas_at_start())

    def generation_changed(self, issuer: IssuingCA) -> None:
        """Register the certificates of a generation that entered service."""

        async def work() -> None:
            self._report(await self._store.add_own(self._found(), utc(self._clock.seconds())))
            self._apply(await self._store.revoked_cas())

        self._start(work(), "The certificates of {issuer} were not added to the inventory: {error}", issuer.name)

    @staticmethod
    def _start(work: Coroutine[Any, Any, None], message: str, name: str) -> None:
        def failed(failure: Failure) -> None:
            log.error(message, issuer=name, error=failure.getErrorMessage())

        start(work).addErrback(failed)

    def _report(self, taken: Iterable[OwnCertificate]) -> None:
        for one in taken:
            self._warn(
                f"{one.subject} is not in the inventory: another certificate has its serial number "
                f"{format_serial(one.serial)}. OCSP does not answer for it"
            )

    def _found(self) -> list[OwnCertificate]:
        certificates = {certificate.der: (role, certificate) for role, certificate in self._roles()}
        cas = [one for role, one in certificates.values() if role in (Infrastructure.ROOT, Infrastructure.ISSUING_CA)]
        found = []
        for role, certificate in certificates.values():
            # A root's signature is its own, and nobody relies on it.
            issuer = certificate if role is Infrastructure.ROOT else find_issuer(certificate, cas)
            if issuer is not None:
                found.append(describe_own(role, certificate, issuer))
        return found

    def _roles(self) -> Iterator[tuple[Infrastructure, Certificate]]:
        """Yield all certificates with their roles."""
        for path in self._https:
            try:
                yield Infrastructure.HTTPS, load_certificates(path, "")[0]
            except ConfigError:
                # The listener reports that.
                continue
        yield from self._generations.certificates()
        for issuer in self._issuers.all():
            for encoding in issuer.chain:
                certificate = parse_certificate(encoding)
                yield Infrastructure.ROOT if certificate.self_issued else Infrastructure.ISSUING_CA, certificate
        if self._root is not None:
            yield Infrastructure.ROOT, self._root

    # --- revocation ---------------------------------------------------------------------

    def changed(self, changes: Iterable[StatusChange]) -> None:
        """Learn which issuing CAs are revoked after a change of what the CAs above them have issued."""
        if all(self._is_of_subscriber(change) for change in changes):
            return

        async def work() -> None:
            self._apply(await self._store.revoked_cas())

        self._start(work(), "Whether issuing CAs are revoked was not read: {error}", "")

    def _is_of_subscriber(self, change: StatusChange) -> bool:
        issuer = self._issuers.by_id(change.issuer_id)
        return issuer is not None and not issuer.certificate.self_issued

    def _apply(self, revoked: Sequence[RevokedCA]) -> None:
        for issuer in self._issuers.all():
            path = [parse_certificate(one) for one in issuer.chain] or [issuer.certificate]
            keys = [(describe_spki(ca.spki_der).key_id, ca.der) for ca in path]
            times = [one.revoked_at for one in revoked if any(one.applies_to(*key) for key in keys)]
            revoked_at = min(times, default=None)
            if revoked_at is not None and issuer.revoked_at is None:
                log.warn(
                    "The issuing CA {issuer} ({ski}), or a CA above it, was revoked on {time:%Y-%m-%d %H:%M:%S} UTC; "
                    "it issues no certificates any more",
                    issuer=issuer.name,
                    ski=issuer.key_identifier.hex(),
                    time=revoked_at,
                )
            elif revoked_at is None and issuer.revoked_at is not None:
                log.info("The issuing CA {issuer} is not revoked any more", issuer=issuer.name)
            issuer.revoked_at = revoked_at


def describe_own(role: Infrastructure, certificate: Certificate, issuer: Certificate) -> OwnCertificate:
    """Return the inventory row of one of the CA's own certificates."""
    key = describe_spki(certificate.spki_der)
    subject = read_name(certificate.subject_der)
    return OwnCertificate(
        role=role,
        serial=certificate.serial,
        subject=subject.text,
        common_name=subject.common_name,
        key_type=key.text,
        key_id=key.key_id,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        der=certificate.der,
        issuer_name=parent_name(issuer),
        issuer_key_identifier=issuer.key_identifier,
        issuer_certificate=issuer.der,
    )


def parent_name(certificate: Certificate) -> str:
    """Return the name of a CA above the issuing CAs: ``root``, or its key identifier in hex."""
    return ROOT if certificate.self_issued else certificate.key_identifier.hex()
