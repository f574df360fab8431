"""Readiness checks of what other nodes of the database have changed and this one lacks: schema, CA files (HA-1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final, Protocol

from twisted.internet.defer import Deferred

from pikachu.ca.issuers import IssuingCAs
from pikachu.ca.rotation import RotationFiles
from pikachu.core.concurrency import start
from pikachu.core.interfaces import IClock
from pikachu.core.model.certificates import IssuerRecord, RevokedCA
from pikachu.core.model.times import utc
from pikachu.operations.readiness import Check
from pikachu.x509.certificate import Certificate, parse_certificate
from pikachu.x509.spki import describe_spki

#: The names of the checks.
NODE_CHECKS: Final = ("schema", "ca_files")
#: Minimum interval between the runs of each check.
INTERVAL_SECONDS: Final = 5.0
# A node registers a generation shortly before its files are complete.
_GRACE: Final = timedelta(seconds=5)


class INodeCheckStore(Protocol):
    """The state of the database that all nodes share."""

    def newer_schema(self) -> Deferred[str | None]:
        """Return the version of the schema if it is newer than this program, or None."""

    def generations(self) -> Deferred[list[IssuerRecord]]:
        """Return the generations of all CAs, of every node, by id."""

    def revoked_cas(self) -> Deferred[list[RevokedCA]]:
        """Return the revoked certificates of issuing CAs."""


class ICAFiles(Protocol):
    """The files of the issuing CAs on this node."""

    @property
    def failures(self) -> Mapping[str, str]:
        """Why the files of an issuing CA can't be used, by its name."""

    def files(self, name: str) -> RotationFiles | None:
        """Return the files of that issuing CA's generations, or None."""


class NodeChecks:
    """Compares this node with the database."""

    def __init__(self, *, store: INodeCheckStore, issuers: IssuingCAs, files: ICAFiles, clock: IClock) -> None:
        self._store = store
        self._issuers = issuers
        self._files = files
        self._clock = clock

    def checks(self) -> dict[str, Check | None]:
        """Return the checks, by name."""

        def check(work: Callable[[], Deferred[str | None]]) -> Check:
            return Check(work, INTERVAL_SECONDS)

        return dict(zip(NODE_CHECKS, (check(self._schema), check(lambda: start(self._ca_files()))), strict=True))

    def _schema(self) -> Deferred[str | None]:
        return self._store.newer_schema().addCallback(_schema_message)

    async def _ca_files(self) -> str | None:
        for name in self._files.failures:
            return (
                f"The files of the issuing CA {name} have changed and can't be used; the log has the reason. "
                f"{self._remedy(name)}"
            )
        missing = [
            (record, certificate)
            for record in await self._store.generations()
            if (certificate := self._missing(record))
        ]
        if not missing:
            return None
        revoked = await self._store.revoked_cas()
        for record, certificate in missing:
            key_id = describe_spki(certificate.spki_der).key_id
            if not any(one.applies_to(key_id, certificate.der) for one in revoked):
                return (
                    f"Another node has rotated the issuing CA {record.name} (key {record.key_identifier.hex()[:16]}, "
                    f"{record.created_at:%Y-%m-%d %H:%M} UTC), and this node lacks the new key and certificate. "
                    f"{self._remedy(record.name)} If the rotation was abandoned, revoke that certificate."
                )
        return None

    def _missing(self, record: IssuerRecord) -> Certificate | None:
        """Return the certificate of a generation that is newer than this node's and not in service here, or None."""
        current = self._issuers.current.get(record.name)
        now = utc(self._clock.seconds())
        if (
            current is None
            or record.id <= current.id
            or now < record.created_at + _GRACE
            or self._issuers.by_key_identifier(record.key_identifier) is not None
        ):
            return None
        certificate = parse_certificate(record.certificate)
        return certificate if now < certificate.not_after else None

    def _remedy(self, name: str) -> str:
        files = self._files.files(name)
        if files is None:
            return ""
        ca = files.ca
        return (
            f"Copy {ca.key.name} ({ca.setting('KEY')}), {ca.certificate.name} ({ca.setting('CERT')}) and the files "
            f"beside them from the node where `pikachu ca rotate {name}` was run; no restart is needed. "
            "`pikachu ca list` shows the generations of this node."
        )


def _schema_message(version: str | None) -> str | None:
    if version is None:
        return None
    return (
        f"A newer Pikachu has migrated the database to schema {version}. Upgrade this server and restart it; "
        "until then, what uses the changed tables may fail."
    )
