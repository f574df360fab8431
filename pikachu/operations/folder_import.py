"""Import of what another program has issued with a CA of this server (OPS-7).

A folder is read twice.  First indexes (``openssl ca``, easy-rsa), databases of cfssl, CRLs and CRL numbers are read,
then certificates, some at a time; profiles come last.  What is imported again changes nothing.
"""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Final

from pikachu.auth.permissions import require_scope
from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import MalformedRequest, PikachuError, UnknownSerial
from pikachu.core.import_interfaces import Finding, IImportStore, ImportedCertificate, ImportOutcome
from pikachu.core.interfaces import ICertificateReader, IClock, IWorkerPool
from pikachu.core.model.certificates import (
    SERIAL_END,
    CertificateRecord,
    Infrastructure,
    PublishedRevocation,
    RevocationReason,
    format_serial,
)
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.times import utc
from pikachu.core.recovery_interfaces import IRecoveryStore, RecoveryDecision
from pikachu.operations.ca_folders import CRL_NUMBER, INDEX, MAX_CERTIFICATES, MAX_CRL, FolderFile, folder_files
from pikachu.operations.cfssl_records import CfsslRecord, NotOfCfssl, cfssl_records, may_have_records
from pikachu.operations.folder_profiles import folder_profiles
from pikachu.operations.profile_import import FoundProfile, ProfileImport, ProfileSummary
from pikachu.va.revocation_recovery import countable
from pikachu.x509.ca_index import parse_index_line
from pikachu.x509.certificate import Certificate, names_match, parse_certificate
from pikachu.x509.crl import crl_entries, crl_entry, parse_crl_entry
from pikachu.x509.crl_verification import check_signed, decode_crl
from pikachu.x509.names import read_name
from pikachu.x509.pem_blocks import CERTIFICATE_LABELS, certificates_in
from pikachu.x509.signature import verify_signature
from pikachu.x509.spki import describe_spki

#: Maximum number of revocations, and of certificates, of a folder, which bounds the memory.
MAX_ENTRIES: Final = 1_000_000
_MAX_SCOPES: Final = 1000
# Certificates and revocations that one transaction writes.
_WRITTEN: Final = 100
_PEM: Final = b"-----BEGIN "
# Bytes that tell what a file may be: the text that openssl writes before a certificate is longer, before a CRL not.
_HEAD: Final = 4096

Revocation = tuple[datetime, RevocationReason]


@dataclass(frozen=True, slots=True)
class ImportLine:
    """A file, or a certificate in it, that is not imported; or a profile, imported or not.

    :param about: the serial number and subject, the reason, or the profile.
    """

    finding: Finding
    path: str
    about: str


@dataclass(slots=True)
class ImportSummary:
    """The result of an import, or of a dry run.

    :ivar outcomes: numbers of certificates.
    :ivar revocations: of serial numbers whose certificates are not in the folder.
    :ivar crl_numbers: by issuing CA, the number above which the next CRL's is.
    :ivar profiles: policies and certificate templates.
    """

    outcomes: Counter[ImportOutcome] = field(default_factory=Counter)
    findings: Counter[Finding] = field(default_factory=Counter)
    revoked: int = 0
    revocations: int = 0
    crl_numbers: dict[str, int] = field(default_factory=dict)
    profiles: ProfileSummary = field(default_factory=ProfileSummary)


@dataclass(slots=True)
class _Scope:
    """An index.txt with its revocations, and the CAs whose certificates lie beside and below it."""

    path: PurePosixPath
    revoked: dict[int, Revocation] = field(default_factory=dict)
    crl_number: int = 0
    cas: set[int] = field(default_factory=set)
    issuers: set[int] = field(default_factory=set)

    @property
    def issuer(self) -> int | None:
        """The id of the CA that the index is of, if that is known."""
        candidates = self.cas or self.issuers
        return next(iter(candidates)) if len(candidates) == 1 else None


@dataclass(slots=True)
class _Survey:
    """The result of the first reading: indexes, and by issuer the revocations and the number of CRLs."""

    scopes: dict[PurePosixPath, _Scope] = field(default_factory=dict)
    listed: dict[int, dict[int, Revocation]] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)
    seen: dict[int, bytes] = field(default_factory=dict)
    # Of the newest CRL of each issuer: what was on hold before may have been released.
    holds: dict[int, tuple[datetime, dict[int, Revocation]]] = field(default_factory=dict)
    # What CRLs say of the listed ones: an index or a database is not signed.
    signed: dict[int, dict[int, Revocation]] = field(default_factory=dict)

    def scope(self, path: PurePosixPath) -> _Scope | None:
        """Return the nearest index of a file."""
        return next((self.scopes[parent] for parent in path.parents if parent in self.scopes), None)

    def issuer_of(self, path: PurePosixPath) -> int | None:
        """Return the id of the CA to which a file belongs: that of its index, else the only one of the folder."""
        scope = self.scope(path)
        if scope is not None and scope.issuer is not None:
            return scope.issuer
        every = {one.issuer for one in self.scopes.values() if one.issuer is not None}
        return every.pop() if len(every) == 1 else None

    def check_size(self) -> None:
        """Check that the whole fits into memory.

        :raises MalformedRequest: when it doesn't.
        """
        parts = (
            *(scope.revoked for scope in self.scopes.values()),
            *self.listed.values(),
            *(holds for _, holds in self.holds.values()),
        )
        total = len(self.seen) + sum(len(part) for part in parts)
        if total > 2 * MAX_ENTRIES or len(self.scopes) > _MAX_SCOPES:
            raise MalformedRequest(f"the folder has more than {MAX_ENTRIES:,} entries; import its parts one by one")


class FolderImport:
    """Imports certificates, revocations, CRL numbers and profiles from folders."""

    def __init__(
        self,
        *,
        imports: IImportStore,
        certificates: ICertificateReader,
        recovery: IRecoveryStore,
        issuers: IssuingCAs,
        profiles: ProfileImport,
        clock: IClock,
        pool: IWorkerPool,
    ) -> None:
        self._profiles = profiles
        self._imports = imports
        self._certificates = certificates
        self._recovery = recovery
        self._issuers = issuers
        self._clock = clock
        self._pool = pool

    @uncancelled
    async def run(
        self,
        actor: Principal,
        folder: Path,
        report: Callable[[ImportLine], None],
        *,
        dry_run: bool,
        with_profiles: bool = True,
    ) -> ImportSummary:
        """Import a folder; for administrators.

        :param report: called with what is not imported and with profiles, from a thread of the pool.
        :param dry_run: write nothing.
        :param with_profiles: whether policies and certificate templates are created.
        :return: fails with MalformedRequest when the folder can't be read or an index is damaged, before anything is
            written, and with StoreUnavailable.
        """
        require_scope(actor, Scope.ADMIN)
        summary = ImportSummary()

        def tell(finding: Finding, path: object, about: str) -> None:
            summary.findings[finding] += 1
            report(ImportLine(finding, str(path), about))

        issuers = list(self._issuers.all())
        now = utc(self._clock.seconds())
        survey = await self._pool.run(_survey, folder, issuers, now, tell)
        found = _certificates(folder, issuers, survey, tell)
        try:
            while taken := await self._pool.run(_take, found):
                some = [(path, await self._revocable(path, item, survey, tell)) for path, item in taken]
                items = [item for _, item in some]
                if dry_run:
                    outcomes = await self._imports.compare_imports(items)
                else:
                    event = event_by(actor, "import", "certificate", "", None)
                    outcomes = await self._imports.import_certificates(items, event, now)
                summary.outcomes.update(outcomes)
                for (path, item), outcome in zip(some, outcomes, strict=True):
                    summary.revoked += outcome is ImportOutcome.NEW and item.revoked_at is not None
                    if outcome is ImportOutcome.CONFLICT:
                        tell(Finding.CONFLICT, path, f"{format_serial(item.serial)} {item.subject}")
        finally:
            await self._pool.run(found.close)
        for scope in survey.scopes.values():
            if scope.issuer is not None:
                survey.numbers[scope.issuer] = max(survey.numbers.get(scope.issuer, 0), scope.crl_number)
                survey.listed.setdefault(scope.issuer, {}).update(scope.revoked)
            elif scope.revoked or scope.crl_number:
                tell(Finding.SKIPPED, scope.path / INDEX, "no certificate tells which CA it is of")
        for issuer in issuers:
            await self._add_revocations(actor, issuer, survey, summary, tell, dry_run=dry_run)
            number = countable(issuer, survey.numbers.get(issuer.id, 0))
            if number > await self._recovery.crl_number(issuer.id):
                summary.crl_numbers[issuer.name] = number
                if not dry_run:
                    await self._imports.raise_crl_number(issuer.id, number)
        if with_profiles:
            skip = functools.partial(tell, Finding.SKIPPED)
            read = await self._pool.run(folder_profiles, folder, skip)
            profiles = [FoundProfile(path, one, _current_ca(survey.issuer_of(path), issuers)) for path, one in read]
            summary.profiles = await self._profiles.run(actor, profiles, tell, dry_run=dry_run)
        return summary

    async def _add_revocations(
        self,
        actor: Principal,
        issuer: IssuingCA,
        survey: _Survey,
        summary: ImportSummary,
        tell: Tell,
        *,
        dry_run: bool,
    ) -> None:
        """Revoke serial numbers without a certificate in the folder, as those that only a CRL has."""
        now = utc(self._clock.seconds())
        listed = (item for item in survey.listed.get(issuer.id, {}).items() if item[0] not in survey.seen)
        name = issuer.key_identifier.hex()
        while part := list(islice(listed, _WRITTEN)):
            some = []
            for serial, revocation in part:
                trusted = await self._trusted(issuer.id, serial, revocation, survey, issuer.name, tell)
                if trusted is not None:
                    some.append(PublishedRevocation(serial, *trusted, crl_entry(serial, *trusted)))
            if not some:
                continue
            if dry_run:
                missing = {format_serial(one.serial): one.der for one in some}
                summary.revocations += len(await self._recovery.missing_revocations(issuer.id, missing))
                continue
            event = event_by(actor, "import", "CRL", name, None)
            period = (now, issuer.certificate.not_after)
            summary.revocations += await self._recovery.recover_revocations(issuer.id, some, period, event, now)
            keep = event_by(actor, "keep", "certificate", "", None)
            await self._recovery.decide_recovered([one.serial for one in some], RecoveryDecision.KEEP, keep, now)

    async def _trusted(
        self, issuer_id: int, serial: int, revocation: Revocation, survey: _Survey, place: object, tell: Tell
    ) -> Revocation | None:
        """Return the revocation to import; for one of this server's own certificates, only what a CRL says."""
        signed = survey.signed.get(issuer_id, {}).get(serial)
        if signed == revocation:
            return signed
        record = await self._known(serial)
        if record is None or record.infrastructure is None:
            return revocation
        if signed is None and record.revoked_at is None:
            is_ca = record.infrastructure is Infrastructure.ISSUING_CA
            what = "an issuing CA of this server" if is_ca else "one of this server's own certificates"
            about = f"{format_serial(serial)} {record.subject}: {what}, which no CRL revokes"
            tell(Finding.CONFLICT, place, about)
        return signed

    async def _revocable(
        self, path: PurePosixPath, item: ImportedCertificate, survey: _Survey, tell: Tell
    ) -> ImportedCertificate:
        """Return what to store of a certificate, revoked only where :meth:`_trusted` says so."""
        if item.revoked_at is None or item.reason is None:
            return item
        trusted = await self._trusted(item.issuer_id, item.serial, (item.revoked_at, item.reason), survey, path, tell)
        revoked_at, reason = trusted or (None, None)
        return replace(item, revoked_at=revoked_at, reason=reason)

    async def _known(self, serial: int) -> CertificateRecord | None:
        try:
            return await self._certificates.certificate_by_serial(serial, deleted=True)
        except UnknownSerial:
            return None


def _take(
    found: Iterator[tuple[PurePosixPath, ImportedCertificate]],
) -> list[tuple[PurePosixPath, ImportedCertificate]]:
    return list(islice(found, _WRITTEN))


Tell = Callable[[Finding, object, str], None]


def _current_ca(issuer_id: int | None, issuers: list[IssuingCA]) -> IssuingCA | None:
    return next((one for one in issuers if one.id == issuer_id), None)


def _survey(folder: Path, issuers: list[IssuingCA], now: datetime, tell: Tell) -> _Survey:
    """Read indexes, CRL numbers and CRLs; blocks."""
    survey = _Survey()
    for file in folder_files(folder, lambda path, why: tell(Finding.SKIPPED, path, why)):
        if file.path.name in (INDEX, CRL_NUMBER):
            scope = survey.scopes.setdefault(file.path.parent, _Scope(file.path.parent))
            if file.path.name == INDEX:
                _read_index(file, scope, now)
            else:
                scope.crl_number = _read_number(file)
        elif may_have_records(file):
            _read_records(file, issuers, survey, now, tell)
        else:
            _read_crl(file, issuers, survey, now, tell)
        survey.check_size()
    for issuer_id, (_, holds) in survey.holds.items():
        survey.listed[issuer_id] = holds | survey.listed[issuer_id]
        survey.signed[issuer_id] = holds | survey.signed[issuer_id]
    return survey


def _read_index(file: FolderFile, scope: _Scope, now: datetime) -> None:
    try:
        for number, line in enumerate(file.lines(), 1):
            try:
                entry = parse_index_line(line)
            except MalformedRequest as error:
                raise MalformedRequest(f"{file.path}, line {number}: {error.public}") from None
            if entry is not None and entry.revoked_at is not None:
                reason = entry.reason or RevocationReason.UNSPECIFIED
                scope.revoked[entry.serial] = (min(entry.revoked_at, now), reason)
            if len(scope.revoked) > MAX_ENTRIES:
                raise MalformedRequest(f"{file.path} has more than {MAX_ENTRIES:,} revocations")
    except OSError as error:
        raise MalformedRequest(f"{file.path} can't be read: {error.strerror}") from None


def _read_records(file: FolderFile, issuers: list[IssuingCA], survey: _Survey, now: datetime, tell: Tell) -> None:
    """Take the revocations in a database of cfssl."""
    by_key = {one.key_identifier: one.id for one in issuers}
    try:
        with closing(cfssl_records(file)) as records:
            for record in records:
                # The second reading tells of a misfiled one.
                if record.revocation is None or _misfiled(record, by_key):
                    continue
                issuer_id = by_key.get(record.authority_key)
                if issuer_id is None:
                    issuer_id = _signer_of(record, issuers, file, tell)
                if issuer_id is not None:
                    revocation = (min(record.revocation[0], now), record.revocation[1])
                    revoked = survey.listed.setdefault(issuer_id, {})
                    revoked[record.serial] = min(revoked.get(record.serial, revocation), revocation, key=_finality)
                    survey.check_size()
    except NotOfCfssl as error:
        tell(Finding.SKIPPED, file.path, str(error))
    except OSError as error:
        tell(Finding.SKIPPED, file.path, str(error.strerror or error))


def _misfiled(record: CfsslRecord, by_key: Mapping[bytes, int]) -> bool:
    """Return whether the certificate of a row names another CA of this server than the row does."""
    certificate = _certificate_of(record) if record.authority_key in by_key else None
    named = certificate and certificate.authority_key_identifier
    return named in by_key and named != record.authority_key


def _certificate_of(record: CfsslRecord) -> Certificate | None:
    """Return the certificate of a row, or ``None`` where it is damaged or has another serial number."""
    try:
        for certificate in map(parse_certificate, certificates_in(record.pem)):
            certificate.check_readable()
            if certificate.serial == record.serial:
                return certificate
    except PikachuError:
        pass
    return None


def _signer_of(record: CfsslRecord, issuers: list[IssuingCA], file: FolderFile, tell: Tell) -> int | None:
    """Return the id of the CA that has signed a record's certificate, as its key identifier is none of theirs."""
    certificate = _certificate_of(record)
    if certificate is None:
        tell(Finding.FOREIGN, file.path, f"{record.serial:x} is revoked, by a CA that is not known")
        return None
    # The second reading tells of a foreign certificate.
    issuer = _issuer_of(certificate, issuers)
    return None if issuer is None else issuer.id


def _read_number(file: FolderFile) -> int:
    """Return the number of the last CRL: the file has the next one's."""
    try:
        return max(int((file.read(100) or b"").decode("ascii").strip(), 16) - 1, 0)
    except (OSError, ValueError):
        raise MalformedRequest(f"{file.path} has no number in hex") from None


def _read_crl(file: FolderFile, issuers: list[IssuingCA], survey: _Survey, now: datetime, tell: Tell) -> None:
    """Take the revocations of a CRL that one of the CAs has signed; other files are left alone."""
    try:
        head = file.beginning(_HEAD)
        if not (_PEM + b"X509 CRL" in head or head[:1] == b"\x30"):
            return
        content = head if file.size <= _HEAD else file.read(MAX_CRL)
    except OSError as error:
        tell(Finding.SKIPPED, file.path, str(error.strerror or error))
        return
    if content is None:
        tell(Finding.SKIPPED, file.path, f"larger than {MAX_CRL >> 20} MiB")
        return
    try:
        data = decode_crl(content)
    except PikachuError:
        return
    for issuer in issuers:
        try:
            summary = check_signed(data, issuer.certificate)
        except PikachuError:
            continue
        if summary.critical_extensions:
            tell(Finding.SKIPPED, file.path, "a delta CRL, or one of some certificates only")
            return
        revoked, holds = survey.signed.setdefault(issuer.id, {}), dict[int, Revocation]()
        for _, element in crl_entries(data):
            entry = parse_crl_entry(element)
            if 0 < entry.serial < SERIAL_END:
                target = holds if entry.reason is RevocationReason.CERTIFICATE_HOLD else revoked
                target[entry.serial] = (min(entry.revoked_at, now), entry.reason)
        survey.listed.setdefault(issuer.id, {}).update(revoked)
        newest = survey.holds.get(issuer.id)
        if newest is None or newest[0] <= summary.this_update:
            survey.holds[issuer.id] = (summary.this_update, holds)
        survey.numbers[issuer.id] = max(survey.numbers.get(issuer.id, 0), summary.number or 0)
        return


def _certificates(
    folder: Path, issuers: list[IssuingCA], survey: _Survey, tell: Tell
) -> Generator[tuple[PurePosixPath, ImportedCertificate], None, None]:
    """Yield the certificates that one of the CAs has signed, each once; blocks."""
    # The first reading has told what is skipped.
    for file in folder_files(folder, lambda *_: None):
        if file.path.name in (INDEX, CRL_NUMBER):
            continue
        scope = survey.scope(file.path)
        for data in _encodings(file, issuers, tell):
            try:
                certificate = parse_certificate(data)
                certificate.check_readable()
                subject = read_name(certificate.subject_der).text
            except PikachuError as error:
                tell(Finding.UNREADABLE, file.path, error.public)
                continue
            own = next((one for one in issuers if one.certificate.spki_der == certificate.spki_der), None)
            if own is not None:
                if scope is not None:
                    scope.cas.add(own.id)
                continue
            issuer = _issuer_of(certificate, issuers)
            if issuer is None:
                tell(Finding.FOREIGN, file.path, f"{certificate.serial:x} {subject}")
                continue
            if scope is not None:
                scope.issuers.add(issuer.id)
            try:
                item = _imported(certificate, issuer, survey, scope)
            except PikachuError as error:
                tell(Finding.UNREADABLE, file.path, error.public)
                continue
            digest = hashlib.sha256(data).digest()
            first = survey.seen.setdefault(certificate.serial, digest)
            if first != digest:
                tell(Finding.CONFLICT, file.path, f"{certificate.serial:x} {subject}")
            elif first is digest:
                survey.check_size()
                yield file.path, item


def _encodings(file: FolderFile, issuers: list[IssuingCA], tell: Tell) -> Iterable[bytes]:
    """Return the DER certificates in a file: DER, PEM or a database of cfssl; none for files of another kind."""
    if may_have_records(file):
        return _record_encodings(file, issuers, tell)
    try:
        content = file.read(MAX_CERTIFICATES)
        if content is None:
            beginning = file.beginning(MAX_CERTIFICATES)
            if any(_PEM + label.encode() + b"-" in beginning for label in CERTIFICATE_LABELS):
                tell(Finding.SKIPPED, file.path, f"larger than {MAX_CERTIFICATES >> 20} MiB; split it")
            return []
    except OSError as error:
        tell(Finding.SKIPPED, file.path, str(error.strerror or error))
        return []
    if content[:1] == b"\x30":
        # Keys, requests and CRLs are DER as well.
        try:
            parse_certificate(content)
        except PikachuError:
            return []
        return [content]
    try:
        return certificates_in(content) if _PEM in content else []
    except PikachuError as error:
        tell(Finding.UNREADABLE, file.path, error.public)
        return []


def _record_encodings(file: FolderFile, issuers: list[IssuingCA], tell: Tell) -> Iterator[bytes]:
    by_key = {one.key_identifier: one.id for one in issuers}
    try:
        with closing(cfssl_records(file)) as records:
            for record in records:
                try:
                    certificates = certificates_in(record.pem)
                except PikachuError as error:
                    tell(Finding.UNREADABLE, file.path, f"{record.serial:x}: {error.public}")
                    continue
                if _misfiled(record, by_key):
                    about = f"{record.serial:x}: the row names another CA of this server than its certificate does"
                    tell(Finding.CONFLICT, file.path, about)
                else:
                    yield from certificates
    except (NotOfCfssl, OSError):
        # The first reading has said so.
        return


def _issuer_of(certificate: Certificate, issuers: list[IssuingCA]) -> IssuingCA | None:
    """Return the CA whose key has signed a certificate; its own signatures of long ago may be with SHA-1 or MD5."""
    for issuer in issuers:
        if not names_match(issuer.certificate.subject_der, certificate.issuer_der):
            continue
        try:
            verify_signature(
                issuer.key,
                certificate.signature_algorithm_der,
                certificate.signature,
                certificate.tbs,
                allow_sha1=True,
                allow_md5=True,
            )
        except PikachuError:
            continue
        return issuer
    return None


def _imported(
    certificate: Certificate, issuer: IssuingCA, survey: _Survey, scope: _Scope | None
) -> ImportedCertificate:
    """Return what to store of a certificate; it is revoked where the index or a CRL says so, since the earlier time.

    :raises PikachuError: its key or serial number is none that the inventory has.
    """
    serial = certificate.serial
    if not 0 < serial < SERIAL_END:
        raise MalformedRequest("the serial number is not positive, or too long")
    key = describe_spki(certificate.spki_der)
    subject = read_name(certificate.subject_der)
    listed = [
        revoked[serial]
        for revoked in (survey.listed.get(issuer.id, {}), scope.revoked if scope is not None else {})
        if serial in revoked
    ]
    revoked_at, reason = min(listed, default=(None, None), key=_finality)
    return ImportedCertificate(
        issuer_id=issuer.id,
        serial=serial,
        subject=subject.text,
        common_name=subject.common_name,
        key_type=key.text,
        key_id=key.key_id,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        der=certificate.der,
        revoked_at=revoked_at,
        reason=reason,
    )


def _finality(revocation: Revocation) -> tuple[bool, datetime]:
    """Return by what to choose among revocations: a hold comes last, then the earlier one first."""
    return revocation[1] is RevocationReason.CERTIFICATE_HOLD, revocation[0]
