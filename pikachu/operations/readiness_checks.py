"""Readiness checks (RUN-8); each one does a small part of the real work."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TooSlow

from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.ca.service_certificates import OCSP, ServiceCertificates
from pikachu.core.concurrency import start
from pikachu.core.errors import NotFound, SecretKeyChanged, StoreUnavailable, Unavailable
from pikachu.core.interfaces import IClock, IWorkerPool, Sealed
from pikachu.core.model.times import utc
from pikachu.core.sealing import Sealer
from pikachu.operations.readiness import Check
from pikachu.operations.rekey import open_sealed
from pikachu.signers.ca_keys import KeySource
from pikachu.va.crl_files import DELTA
from pikachu.va.crl_publisher import CRLPublisher
from pikachu.va.ocsp import OCSPResponder
from pikachu.va.revocation_recovery import RevocationRecovery, recovery_message

#: Minimum interval between the writes, and between the signatures, of a check.
WRITE_INTERVAL_SECONDS: Final = 10.0
# How long the check of a CRL waits for the database, on which clients of the CRL don't depend.
_DATABASE_WAIT_SECONDS: Final = 1.0
_CHECK_CLOCK: Final = "Check this machine's clock and its synchronization."


@dataclass(frozen=True, slots=True)
class DatabaseProbes:
    """The database operations of the checks.

    :param read: succeeds if the database answers.
    :param write: commits a write that needs disk space.
    :param sealed: returns the newest sealed value of each kind.
    """

    read: Callable[[], Deferred[None]]
    write: Callable[[], Deferred[None]]
    sealed: Callable[[], Deferred[list[Sealed]]]


class ServerChecks:
    """The checks of every server.

    :param responder: the OCSP responder, or ``None`` if OCSP is not served.
    :param folders: the growing folders, by their content for messages.
    :param min_free_bytes: minimum free space in each of them; 0 for no check.
    """

    def __init__(
        self,
        *,
        clock: IClock,
        database: DatabaseProbes,
        sealer: Sealer,
        issuers: IssuingCAs,
        credentials: ServiceCertificates,
        responder: OCSPResponder | None,
        publisher: CRLPublisher,
        recovery: RevocationRecovery,
        signing: IWorkerPool,
        files: IWorkerPool,
        folders: Mapping[str, Path],
        min_free_bytes: int,
    ) -> None:
        self._clock = clock
        self._database = database
        self._sealer = sealer
        self._issuers = issuers
        self._credentials = credentials
        self._responder = responder
        self._publisher = publisher
        self._recovery = recovery
        self._signing = signing
        self._files = files
        self._folders = dict(folders)
        self._min_free_bytes = min_free_bytes

    def standing(self) -> dict[str, Check | None]:
        """Return the checks that are independent of the CAs."""
        return {
            "database": Check(self._read),
            "write": Check(self._write, WRITE_INTERVAL_SECONDS),
            "secret_key": Check(self._open_sealed, WRITE_INTERVAL_SECONDS),
            "signer": Check(self._take_turn),
            "disk": Check(self._measure) if self._min_free_bytes else None,
            "clock": Check(self._compare_clock),
        }

    def of_issuers(self) -> dict[str, Check]:
        """Return the checks of each CA with a local key; names of previous generations include their key identifier."""
        checks = {}
        for issuer in self._issuers.all():
            is_current = self._issuers.current.get(issuer.name) is issuer
            if not is_current and self._has_expired(issuer):
                continue
            known = any(other.name == issuer.name for other in self._issuers.all() if other is not issuer)
            name = issuer.name if is_current or not known else f"{issuer.name} {issuer.key_identifier.hex()[:8]}"
            if self._responder is not None:
                checks[f"ocsp {name}"] = Check(self._signature(issuer), WRITE_INTERVAL_SECONDS)
            checks[f"crl {name}"] = Check(self._crl(issuer))
        return checks

    def _now(self) -> float:
        return self._clock.seconds()

    def _has_expired(self, issuer: IssuingCA) -> bool:
        return issuer.certificate.not_after.timestamp() <= self._now()

    # --- server ----------------------------------------------------------------------

    def _read(self) -> Deferred[str | None]:
        return self._database.read().addCallback(lambda _: None)

    def _write(self) -> Deferred[str | None]:
        return self._database.write().addCallback(lambda _: None)

    def _open_sealed(self) -> Deferred[str | None]:
        async def work() -> str | None:
            for value in await self._database.sealed():
                try:
                    open_sealed(self._sealer, value)
                except SecretKeyChanged:
                    raise SecretKeyChanged(
                        f"A stored {value.kind} was sealed under another SECRET_KEY. Put that one back; "
                        "`pikachu rekey` changes it without losing a key."
                    ) from None
            return None

        return Deferred.fromCoroutine(work())

    def _take_turn(self) -> Deferred[str | None]:
        # Keys from files are in memory, so only an overloaded pool can prevent signatures.
        return self._signing.run(_nothing)

    def _measure(self) -> Deferred[str | None]:
        return self._files.run(self._measure_folders)

    def _measure_folders(self) -> None:
        """Check the free space of each folder; blocks."""
        for what, folder in self._folders.items():
            try:
                filesystem = os.statvfs(_existing(folder))
            except OSError as error:
                reason = error.strerror
                raise StoreUnavailable(f"The folder of the {what} can't be read: {reason}.", path=str(folder)) from None
            free = filesystem.f_bavail * filesystem.f_frsize
            if free < self._min_free_bytes:
                raise StoreUnavailable(
                    f"{free >> 20} MiB are free in the folder of the {what}; [DEFAULT] min_free_space requires "
                    f"{self._min_free_bytes >> 20} MiB. Free some space.",
                    path=str(folder),
                )

    def _compare_clock(self) -> Deferred[str | None]:
        async def work() -> str | None:
            now = utc(self._now())
            for issuer in self._issuers.all():
                begins = {f"the certificate of the CA {issuer.name}": issuer.certificate.not_before}
                credential = self._credentials.newest(issuer, OCSP)
                if credential is not None:
                    begins[f"the OCSP responder's certificate of {issuer.name}"] = credential.not_before
                crl = self._publisher.newest(issuer)
                if crl is not None:
                    begins[f"the CRL of {issuer.name}"] = crl.this_update
                for what, begin in begins.items():
                    if now < begin:
                        raise Unavailable(
                            f"The clock is at {now:%Y-%m-%d %H:%M:%S} UTC, but {what} is valid from "
                            f"{begin:%Y-%m-%d %H:%M:%S} UTC. {_CHECK_CLOCK}"
                        )
            return None

        return Deferred.fromCoroutine(work())

    # --- issuing CAs --------------------------------------------------------------------------

    def _signature(self, issuer: IssuingCA) -> Callable[[], Deferred[str | None]]:
        responder = self._responder
        assert responder is not None  # noqa: S101 - called only with a responder

        def run() -> Deferred[str | None]:
            return responder.prove(issuer).addCallback(lambda _: None)

        return run

    def _crl(self, issuer: IssuingCA) -> Callable[[], Deferred[str | None]]:
        async def work() -> str | None:
            if self._has_expired(issuer):
                raise Unavailable(f"The issuing CA {issuer.name} has expired. Rotate it with `pikachu ca rotate`.")
            try:
                crl = await self._publisher.current(issuer)
            except NotFound as error:
                raise Unavailable(f"The CA {issuer.name} has published no CRL yet.") from error
            now = utc(self._now())
            if crl.next_update <= now:
                raise Unavailable(
                    f"CRL {crl.number} of {issuer.name} expired on {crl.next_update:%Y-%m-%d %H:%M:%S} UTC. "
                    "The log has the reason why no new one was published."
                )
            if now < crl.this_update:
                raise Unavailable(
                    f"CRL {crl.number} of {issuer.name} is not valid before {crl.this_update:%Y-%m-%d %H:%M:%S} UTC. "
                    f"{_CHECK_CLOCK}"
                )
            for part, one in self._publisher.parts.published(issuer).items():
                if one.next_update <= now and self._publisher.parts.is_awaited(issuer, part):
                    name = part if part == DELTA else f"shard {part}"
                    raise Unavailable(
                        f"CRL {one.number} of {issuer.name} ({name}) expired on {one.next_update:%Y-%m-%d %H:%M:%S} "
                        "UTC. The log has the reason why no new one was published."
                    )
            await self._files.run(self._publisher.prove_writable, issuer)
            try:
                undecided = Deferred.fromCoroutine(self._recovery.undecided(issuer))
                count = await undecided.addTimeout(_DATABASE_WAIT_SECONDS, self._clock)  # type: ignore[arg-type]
            except (StoreUnavailable, TooSlow):
                # The check of the database says so; the published CRL is as good as before.
                return None
            return recovery_message(count) if count else None

        return lambda: Deferred.fromCoroutine(work())


def key_source_checks(sources: Mapping[str, KeySource]) -> dict[str, Check | None]:
    """Return the checks of what keeps keys outside of files; they may run while a call hangs, each in its pool."""

    def check(source: KeySource) -> Check:
        return Check(lambda: source.pool.run(source.check), WRITE_INTERVAL_SECONDS)

    return {"pkcs11": None, "vault": None, **{scheme: check(source) for scheme, source in sources.items()}}


def engine_checks(issuers: IssuingCAs) -> dict[str, Check | None]:
    """Return the check of the engines that build certificates; empty without one."""

    async def check() -> None:
        for engine in issuers.engines():
            await engine.check()

    return {"pki_engine": Check(lambda: start(check()), WRITE_INTERVAL_SECONDS)} if issuers.engines() else {}


def _nothing() -> None:
    """Do nothing; proves that the pool has a free thread."""


def _existing(folder: Path) -> Path:
    """Return the nearest existing folder, since some are created at first use."""
    return next(path for path in (folder, *folder.parents) if path.exists())
