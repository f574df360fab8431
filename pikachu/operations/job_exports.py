"""Exports: each object's part of the file of a job, and the file (JOB-1).

A part is stored with the outcome of its object, so that the file is that of the time of the job.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeAlias

from pikachu.accounts.accounts import Accounts
from pikachu.accounts.challenge_passwords import ChallengePasswords
from pikachu.ca.issuers import IssuingCAs
from pikachu.core.errors import MalformedRequest
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.jobs import ExportFormat, Job, JobResource
from pikachu.core.model.people import Principal
from pikachu.core.model.times import utc
from pikachu.documents.csv_lines import csv_lines
from pikachu.inventory.certificates import CertificateQueries
from pikachu.inventory.csrs import CertificateRequests
from pikachu.inventory.keys import Keys
from pikachu.inventory.templates import CertificateTemplates
from pikachu.operations.export_fields import CERTIFICATE_HEADINGS, certificate_fields, time_text
from pikachu.x509.pem import certificates_pem

Fields: TypeAlias = Callable[[Principal, int], Awaitable[Sequence[str]]]
_ROWS: Final = 250
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_NAME: Final = 60
# A fixed time, so that the same objects give the same file.
_TIME: Final = (1980, 1, 1, 0, 0, 0)
_SUFFIXES: Final = {ExportFormat.PEM: ".pem", ExportFormat.DER: ".cer"}


@dataclass(frozen=True, slots=True)
class JobFile:
    """The file of a job.

    :param parts: returns the bytes after a cursor, and the cursor of the next ones; called in that order.
    """

    name: str
    media_type: str
    parts: Callable[[str | None], Coroutine[Any, Any, tuple[bytes, str | None]]]


@dataclass(frozen=True, slots=True)
class _Table:
    headings: Sequence[str]
    fields: Fields


class JobExports:
    """The parts of exported objects by their kind; keys and passwords are never in them."""

    def __init__(
        self,
        *,
        store: IStore,
        inventory: CertificateQueries,
        issuers: IssuingCAs,
        keys: Keys,
        requests: CertificateRequests,
        challenge_passwords: ChallengePasswords,
        accounts: Accounts,
        templates: CertificateTemplates,
        clock: IClock,
    ) -> None:
        self._store = store
        self._inventory = inventory
        self._issuers = issuers
        self._clock = clock

        async def owner(actor: Principal, account_id: int | None) -> str:
            return (await inventory.owner_names(actor, [account_id])).get(account_id) or ""

        async def key(actor: Principal, identity: int) -> Sequence[str]:
            one = await keys.get(actor, identity)
            user = await owner(actor, one.owner_id)
            return (str(one.id), one.name, one.key_type, one.key_id.hex(), user, time_text(one.created_at))

        async def csr(actor: Principal, identity: int) -> Sequence[str]:
            one = await requests.get(actor, identity)
            user = await owner(actor, one.owner_id)
            return (str(one.id), one.name, one.subject, one.key_type, one.state, user, time_text(one.created_at))

        async def challenge(actor: Principal, identity: int) -> Sequence[str]:
            one = await challenge_passwords.get(actor, identity)
            subject, sans = ("", "") if one.names is None else (one.names.subject, ", ".join(one.names.sans))
            times = (time_text(one.created_at), time_text(one.expires_at), time_text(one.consumed_at))
            return (one.prefix, one.label, subject, sans, await owner(actor, one.owner_id), *times)

        async def account(actor: Principal, identity: int) -> Sequence[str]:
            one = await accounts.account(actor, identity)
            times = (time_text(one.created_at), time_text(one.last_login_at))
            return (str(one.id), one.username, one.email, one.role.value, one.source.value, one.state.value, *times)

        async def template(actor: Principal, identity: int) -> Sequence[str]:
            one = await templates.get(actor, identity)
            times = (time_text(one.created_at), time_text(one.updated_at))
            user = await owner(actor, one.owner_id)
            return (str(one.id), one.name, one.profile_type, one.origin, one.content, user, *times)

        async def approval(actor: Principal, identity: int) -> Sequence[str]:
            one = await inventory.approval(actor, identity)
            return (
                *(str(one.id), one.subject, one.key_type, one.policy, one.method.value, one.principal, one.address),
                *(one.state.value, await owner(actor, one.owner_id), time_text(one.created_at)),
                *(time_text(one.decided_at), one.decided_by or "", one.reason or ""),
            )

        self._tables: Mapping[JobResource, _Table] = {
            JobResource.CERTIFICATES: _Table(CERTIFICATE_HEADINGS, self._certificate),
            JobResource.KEYS: _Table(("ID", "Name", "Type", "SHA-256", "User", "Created (UTC)"), key),
            JobResource.CSRS: _Table(("ID", "Name", "Subject", "Key", "State", "User", "Created (UTC)"), csr),
            JobResource.CHALLENGE_PASSWORDS: _Table(
                ("Starts with", "Label", "Subject", "SANs", "User", "Created (UTC)", "Expires (UTC)", "Used (UTC)"),
                challenge,
            ),
            JobResource.TEMPLATES: _Table(
                ("ID", "Name", "Profile type", "Origin", "Text", "User", "Created (UTC)", "Updated (UTC)"), template
            ),
            JobResource.APPROVALS: _Table(
                (
                    *("ID", "Subject", "Key", "Policy", "Method", "Requested by", "Submitted from"),
                    *("Status", "User", "Created (UTC)", "Decided (UTC)", "Decided by", "Reason"),
                ),
                approval,
            ),
            JobResource.USERS: _Table(
                ("ID", "Username", "E-mail", "Role", "Source", "State", "Created (UTC)", "Signed in (UTC)"), account
            ),
        }

    def supports(self, resource: JobResource) -> bool:
        """Return whether objects of that kind can be exported."""
        return resource in self._tables

    def check(self, resource: JobResource, name: str | None) -> ExportFormat:
        """Return the format of that name.

        :raises MalformedRequest: when there is none for those objects.
        """
        known = list(ExportFormat) if resource is JobResource.CERTIFICATES else [ExportFormat.CSV]
        if name not in known:
            raise MalformedRequest(f"Choose a format for the export of {resource}: {', '.join(known)}.")
        return ExportFormat(name)

    async def part(self, resource: JobResource, format_: ExportFormat, actor: Principal, identity: int) -> bytes:
        """Return an object's part of a file.  Fails with NotFound."""
        if format_ is ExportFormat.CSV:
            return csv_lines([await self._tables[resource].fields(actor, identity)])
        record = await self._inventory.certificate(actor, identity)
        return certificates_pem([record.der]).encode("ascii") if format_ is ExportFormat.PEM else record.der

    def file(self, job: Job) -> JobFile:
        """Return the file of an export."""
        format_ = self.check(job.resource, job.arguments.format)
        name = f"{job.resource}-job-{job.id}"
        if format_ is ExportFormat.CSV:
            heading = csv_lines([self._tables[job.resource].headings])
            return JobFile(f"{name}.csv", "text/csv; charset=utf-8", partial(self._csv, job, heading))
        return JobFile(f"{name}.zip", "application/zip", _Archive(self._store, job, _SUFFIXES[format_]).parts)

    async def _csv(self, job: Job, heading: bytes, cursor: str | None) -> tuple[bytes, str | None]:
        parts = await self._store.job_file(job.id, int(cursor or 0), _ROWS)
        following = str(parts[-1].row_id) if len(parts) == _ROWS else None
        return b"".join([heading if cursor is None else b"", *(part.content for part in parts)]), following

    async def _certificate(self, actor: Principal, identity: int) -> Sequence[str]:
        record = await self._inventory.certificate(actor, identity)
        names = await self._inventory.owner_names(actor, [record.owner_id])
        return certificate_fields(record, self._issuers.by_id(record.issuer_id), names, self._now())

    def _now(self) -> datetime:
        return utc(self._clock.seconds())


class _Archive:
    """A zip that is written while it is sent."""

    def __init__(self, store: IStore, job: Job, suffix: str) -> None:
        self._store = store
        self._job = job
        self._suffix = suffix
        self._written = _Sink()
        self._zip = zipfile.ZipFile(self._written, "w")

    async def parts(self, cursor: str | None) -> tuple[bytes, str | None]:
        """Return the next files of the archive, and at the end its directory."""
        parts = await self._store.job_file(self._job.id, int(cursor or 0), _ROWS)
        for part in parts:
            base = _UNSAFE.sub("_", part.name)[:_MAX_NAME].strip("._") or "certificate"
            self._zip.writestr(zipfile.ZipInfo(f"{base}-{part.object_id}{self._suffix}", _TIME), part.content)
        if len(parts) == _ROWS:
            return self._written.take(), str(parts[-1].row_id)
        self._zip.close()
        return self._written.take(), None


class _Sink(io.RawIOBase):
    """Collects written bytes; it can't seek, so an archive is written from its beginning to its end."""

    def __init__(self) -> None:
        self._data = bytearray()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Add bytes."""
        self._data += data
        return len(data)

    def take(self) -> bytes:
        """Return the bytes written since the last call."""
        data, self._data = bytes(self._data), bytearray()
        return data
