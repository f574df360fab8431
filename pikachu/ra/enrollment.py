"""Enrollment: the steps that EST, SCEP, REST, the pages and the command line share.

A request is one value that grows on its way: :class:`ReceivedRequest` → :class:`VerifiedRequest` →
:class:`AuthorizedRequest` → :class:`pikachu.ca.issuance.IssuanceRequest`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pikachu.ca.issuance import CertificateAuthority, IssuanceRequest, require_lint
from pikachu.ca.issuers import IssuingCA
from pikachu.core.audit import event_by
from pikachu.core.concurrency import SingleFlight, start
from pikachu.core.errors import (
    AccountChanged,
    AuthenticationFailed,
    Conflict,
    NotAuthorized,
    PolicyViolation,
    RequestError,
)
from pikachu.core.interfaces import Begun, IStore, Repeated
from pikachu.core.metrics import CountsByLabel
from pikachu.core.model.certificates import CertificateRecord, CertificateStatus, Method
from pikachu.core.model.events import Event
from pikachu.core.model.people import Principal, PrincipalKind
from pikachu.core.model.policies import Policy
from pikachu.core.model.requests import NewRequest, RequestState, StoredCSR
from pikachu.ra.default_policy import check_days
from pikachu.ra.policies import PolicyResolver, check_limits, check_name_encoding, policy_variables
from pikachu.x509.certificate import SUBJECT_ALTERNATIVE_NAME
from pikachu.x509.csr import CertificationRequest, verify_csr
from pikachu.x509.device_names import device_key, device_name
from pikachu.x509.extension import Extension
from pikachu.x509.names import names_equal, read_name
from pikachu.x509.profile import Addresses, leaf_extensions
from pikachu.x509.requested_san import RequestedNames
from pikachu.x509.san import encode_san
from pikachu.x509.san_text import certificate_sans
from pikachu.x509.spki import KeyDescription
from pikachu.x509.template import ExtensionContext

log = Logger()

# Characters of an identity in errors and events.
_MAX_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Issued:
    """The certificate issued for a request, now or for an earlier copy of it."""

    record: CertificateRecord
    issuer: IssuingCA


@dataclass(frozen=True, slots=True)
class Pending:
    """The request waits for approval.

    :param retry_after: seconds.
    """

    request_id: int
    retry_after: int


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A certificate request as submitted; nothing but its syntax is checked.

    :param label: the label in the EST or SCEP path.
    :param days: the validity that the requester chose; ``None``: that of the policy.
    :param stored: the stored CSR that was submitted, or ``None``.
    """

    method: Method
    csr: CertificationRequest
    label: str | None = None
    days: int | None = None
    stored: StoredCSR | None = None

    def verify(self, *, allow_sha1: bool = False, allow_md5: bool = False) -> VerifiedRequest:
        """Verify proof of possession, the key and the names (step 2).

        :raises BadCSR: or a subclass, UnsupportedAlgorithm, PolicyViolation for names that nobody may have.
        """
        return VerifiedRequest(self, verify_csr(self.csr, allow_sha1=allow_sha1, allow_md5=allow_md5))


@dataclass(frozen=True, slots=True)
class VerifiedRequest:
    """A request with a verified key.

    :param key: the key to certify: that of the CSR, or the one generated for serverkeygen.
    """

    received: ReceivedRequest
    key: KeyDescription

    @property
    def csr(self) -> CertificationRequest:
        """The CSR."""
        return self.received.csr


@dataclass(frozen=True, slots=True)
class Repetition:
    """The digests by which copies of a request and polls are recognized.

    :param digest: equal for all copies.
    :param seconds: how long a copy gets the same result.
    :param transaction: lookup digest for polling (SCEP CertPoll), or ``None``.
    :param requester_key: SHA-256 of the SPKI that signed the SCEP request, or ``None``.
    """

    digest: bytes
    seconds: int
    transaction: bytes | None = None
    requester_key: bytes | None = None


@dataclass(frozen=True, slots=True)
class AuthorizedRequest:
    """A verified request of an authenticated principal, with the policy that applies to it.

    :param repetition: ``None``: each copy is a new request.
    :param on_behalf_of: the future owner of the certificate, when an administrator requests it for another account.
    :param renews: the serial number of the certificate that it renews; empty: none.
    """

    verified: VerifiedRequest
    principal: Principal
    policy: Policy
    repetition: Repetition | None = None
    on_behalf_of: int | None = None
    renews: str = ""

    @property
    def owner_id(self) -> int | None:
        """The future owner of the certificate: that of the stored CSR, also when an administrator submits it."""
        if self.on_behalf_of is not None:
            return self.on_behalf_of
        return certificate_owner(self.principal, self.verified.received.stored)


@dataclass(frozen=True, slots=True)
class EnrollmentSettings:
    """The configuration of every enrollment.

    :param public_url: base of the AIA and CDP addresses that the CA adds; ``None`` adds none.
    :param retry_after: seconds after which a client polls for a pending request.
    """

    public_url: str | None = None
    retry_after: int = 60


class EnrollmentService:
    """Decides about verified requests, records them and has them issued; every protocol uses the same one.

    A repeated request is recognized at two places: here while the first copy is in flight (:meth:`enroll_once`), and by
    the database, where the digest is unique.
    """

    def __init__(
        self,
        *,
        store: IStore,
        authority: CertificateAuthority,
        policies: PolicyResolver,
        settings: EnrollmentSettings,
    ) -> None:
        self._store = store
        self._authority = authority
        self._policies = policies
        self._settings = settings
        self._in_flight: SingleFlight[Issued | Pending] = SingleFlight()
        #: Numbers of requests that were refused or wait for approval, by protocol, policy and result.
        self.not_issued = CountsByLabel()

    def issuer_for(self, policy: Policy, method: Method) -> IssuingCA:
        """Return the CA that signs under a policy: the one it names, for SCEP ``rsa`` if configured, or the default.

        :raises NotFound: when the policy names a CA that is not configured.
        """
        issuers = self._authority.issuers
        if policy.issuer is not None:
            return issuers.named(policy.issuer)
        if method is Method.SCEP and "rsa" in issuers.current:
            return issuers.named("rsa")
        return issuers.default

    def addresses(self, issuer: IssuingCA) -> Addresses | None:
        """Return AIA and CDP for certificates of an issuer, or None without ``public_url``."""
        return Addresses.under(self._settings.public_url, issuer.certificate)

    # --- deciding -----------------------------------------------------------------------

    async def prepare(self, policy: Policy, method: Method) -> None:
        """Compile the extensions of a policy in the pool, so that :meth:`decide` does not block.

        Errors in the policy are raised by :meth:`decide`.  Fails with Overloaded.
        """
        with suppress(RequestError):
            variables = self._variables(self.issuer_for(policy, method))
            if not self._policies.texts.is_ready(policy.extensions, variables):
                await self._policies.texts.prepare(policy.extensions, variables)

    def decide(self, request: AuthorizedRequest) -> IssuanceRequest:
        """Return the certificate that the request is granted (step 3); previews show it and :meth:`enroll` issues it.

        :raises NotAuthorized: when the policy limits client certificates to their own subject.
        :raises PolicyViolation: when the request is outside of the policy's limits.
        """
        certificate = request.principal.certificate
        if (
            request.policy.limits.own_subject
            and certificate is not None
            and not names_equal(certificate.subject_der, request.verified.csr.subject_der)
        ):
            raise NotAuthorized("the policy lets a client certificate enroll its own subject only")
        return self.issuance(request.verified, request.policy, request.principal.added_names)

    def issuance(self, request: VerifiedRequest, policy: Policy, added_names: bytes = b"") -> IssuanceRequest:
        """Return the certificate that a policy grants to a request.

        :param added_names: subject alternative names beside those of the CSR, as DER GeneralNames; the policy decides
            about them as about those.
        :raises PolicyViolation: when the request is outside of the policy's limits.
        """
        csr, days = request.csr, request.received.days
        issuer = self.issuer_for(policy, request.received.method)
        issuer.require_unrevoked()
        limits = policy.limits
        copies_names = self.copies_names(policy, request.received.method)
        names = RequestedNames()
        if copies_names:
            names = csr.requested_names(limits.other_names).with_added(added_names).with_subject_addresses(csr.name)
        check_limits(policy, request.key, csr.subject, [name.text for name in names.copied])
        check_name_encoding(limits, csr, names)
        validity = _validity(policy, days)
        context, text = self._context(request, issuer), self._policies.texts.get(policy.extensions)
        policy_extensions = text.extensions(context)
        extensions = leaf_extensions(
            policy=policy_extensions,
            requested_names=(
                Extension(SUBJECT_ALTERNATIVE_NAME, False, encode_san(names.copied)) if names.copied else None
            ),
            subject_der=csr.subject_der,
            key=request.key,
            issuer=issuer.certificate,
            addresses=self.addresses(issuer),
        )
        return IssuanceRequest(
            issuer=issuer,
            policy=policy,
            subject=csr.name,
            key=request.key,
            extensions=extensions,
            days=validity,
            explicit=days is not None,
            csr=csr.der,
            policy_extensions=policy_extensions,
            ignored_names=names.ignored,
        )

    def copies_names(self, policy: Policy, method: Method) -> bool:
        """Return whether the names of the CSR's subjectAltName get into a certificate.

        A policy with a subjectAltName of its own overrides the requested names, even if it results in none.
        """
        text, variables = self._policies.texts.get(policy.extensions), self._variables(self.issuer_for(policy, method))
        return policy.limits.honour_names and not text.names(SUBJECT_ALTERNATIVE_NAME, variables)

    def _context(self, request: VerifiedRequest, issuer: IssuingCA) -> ExtensionContext:
        certificate = issuer.certificate
        names = certificate.extension(SUBJECT_ALTERNATIVE_NAME)
        return ExtensionContext(
            issuer_key_identifier=certificate.key_identifier,
            issuer_issuer_der=certificate.issuer_der,
            issuer_serial=certificate.serial,
            issuer_names=None if names is None else names.value,
            subject_spki=request.key.spki,
            subject_der=request.csr.subject_der,
            variables=self._variables(issuer),
            subject_ski=request.key.ski,
        )

    def _variables(self, issuer: IssuingCA) -> dict[str, str]:
        return policy_variables(issuer.name, issuer.key_identifier, self._settings.public_url)

    # --- enrolling ----------------------------------------------------------------------

    async def enroll(self, request: AuthorizedRequest) -> Issued | Pending:
        """Record the request (step 4); then issue its certificate, or leave it pending if the policy says so (step 5).

        Fails like :meth:`decide`, and with Unavailable and IssuanceFailed.
        """
        try:
            result = await self._enroll(request)
        except RequestError:
            self._count(request, "refused")
            raise
        if isinstance(result, Pending):
            self._count(request, "pending")
        return result

    def _count(self, request: AuthorizedRequest, result: str) -> None:
        self.not_issued.add(request.verified.received.method.value, request.policy.name, result)

    async def _enroll(self, request: AuthorizedRequest) -> Issued | Pending:
        await self.prepare(request.policy, request.verified.received.method)
        issuance = self.decide(request)
        await self._require_listed(request, issuance)
        _log_ignored(request.verified.csr, issuance)
        new = self._new_request(request, issuance)
        if new.approvals:
            # What could not be issued asks nobody for approval.
            require_lint(issuance)
            return await self._wait_for_approval(new)
        try:
            record = await self._authority.issue(new, issuance, _audit_details(request))
        except AccountChanged:
            raise
        except Conflict as error:
            if request.principal.challenge_id is None:
                raise
            # Another request used the challenge password first, so it is no longer valid for this one.
            raise AuthenticationFailed(error.public) from error
        return Issued(record, self._authority.issuers.by_id(record.issuer_id) or issuance.issuer)

    async def _require_listed(self, request: AuthorizedRequest, issuance: IssuanceRequest) -> None:
        received = request.verified.received
        refused = event_by(
            request.principal,
            "reject",
            "request",
            "",
            request.owner_id,
            subject=received.csr.subject[:_MAX_SHOWN],
            method=received.method.value,
        )
        await self.require_listed(request.policy, presented_identity(request) or issuance.device, refused)

    async def require_listed(self, policy: Policy, identity: str, refused: Event) -> None:
        """Require that the list of a policy, if it has one, has the identity; a refusal is recorded.

        The identity is that of the client certificate of a manufacturer, such as an IDevID, else the device's name.

        :param refused: the event of the refusal, without what is known here.
        """
        try:
            await self.check_listed(policy, identity)
        except PolicyViolation as error:
            known = {"policy": policy.name, "identities": policy.limits.identities, "reason": error.public}
            event = replace(refused, resource_name=identity[:_MAX_SHOWN], details={**refused.details, **known})
            await self._store.add_event(event, self._authority.now())
            raise

    async def check_listed(self, policy: Policy, identity: str) -> None:
        """Require that the list of a policy, if it has one, has the identity; nothing is recorded."""
        required = policy.limits.identities
        if required is None or (identity and await self._store.is_listed(required, device_key(identity))):
            return
        raise PolicyViolation(
            f"“{identity[:_MAX_SHOWN]}” is not on the list of identities “{required}”, which the policy requires. "
            "Have an administrator add it to the list."
        )

    def _new_request(self, request: AuthorizedRequest, issuance: IssuanceRequest) -> NewRequest:
        received, csr, principal = request.verified.received, request.verified.csr, request.principal
        repetition, stored, presented = request.repetition, received.stored, principal.certificate
        actors = {
            principal.owner_id,
            principal.authenticated_id,
            None if presented is None else presented.owner_id,
        }
        return NewRequest(
            method=received.method,
            csr=csr.der,
            subject=csr.subject,
            key_type=request.verified.key.text,
            key_id=request.verified.key.key_id,
            policy=request.policy.name,
            issuer=issuance.issuer.name,
            principal=principal.name,
            owner_id=request.owner_id,
            created_at=self._authority.now(),
            address=principal.address,
            actor_id=principal.owner_id,
            dedupe=None if repetition is None else repetition.digest,
            dedupe_seconds=None if repetition is None else repetition.seconds,
            transaction=None if repetition is None else repetition.transaction,
            requester_key=None if repetition is None else repetition.requester_key,
            challenge_id=principal.challenge_id,
            label=received.label,
            validity_days=received.days,
            csr_id=None if stored is None else stored.id,
            actor_ids=frozenset(actor for actor in actors if actor is not None),
            added_names=principal.added_names,
            device=issuance.device,
            identity=presented_identity(request),
            cached_account=principal.cached_account,
            approvals=request.policy.approval.needed,
        )

    async def _wait_for_approval(self, request: NewRequest) -> Issued | Pending:
        begun = await start(self._record(request))
        if isinstance(begun, Repeated):
            result = self.result_of(begun)
            if result is not None:
                return result
            raise PolicyViolation("this request failed before; make a new one")
        log.info("Request {id} of {subject} waits for approval", id=begun.request_id, subject=request.subject)
        return Pending(begun.request_id, self._settings.retry_after)

    async def _record(self, request: NewRequest) -> Begun | Repeated:
        return await self._store.begin(request, None, self._authority.now())

    # --- repetitions --------------------------------------------------------------------

    def enroll_once(
        self, digest: bytes, authorize: Callable[[], Coroutine[Any, Any, AuthorizedRequest]], *, look_up: bool = True
    ) -> Deferred[Issued | Pending]:
        """Enroll the request that *authorize* returns, or return the result of an earlier copy or one in flight.

        :param digest: equal for all copies.
        :param authorize: authenticates, verifies and authorizes the request; not called for a copy.
        :param look_up: look for an earlier copy before *authorize*, which would fail because that copy consumed the
            challenge password, or because the policy has changed since; otherwise :meth:`enroll` recognizes it.
        """

        async def work() -> Issued | Pending:
            earlier = await self.earlier(digest) if look_up else None
            if earlier is not None:
                return earlier
            try:
                request = await authorize()
            except AuthenticationFailed:
                # Another node may have taken a copy meanwhile, which has the challenge password now.
                earlier = await self.earlier(digest) if look_up else None
                if earlier is None:
                    raise
                return earlier
            return await self.enroll(request)

        return self._in_flight.run(digest, work)

    async def earlier(self, digest: bytes) -> Issued | Pending | None:
        """Return the result of an earlier copy of a request, or None if it must be processed again.

        None is in flight in this process, so a copy that is still being issued belongs to another one, or was lost.

        Fails with NotAuthorized when it was rejected, and with Unavailable while another process is issuing it.
        """
        earlier = await self._store.repeated(digest, self._authority.now())
        if earlier is None:
            return None
        result = self.result_of(earlier)
        if result is None and earlier.request.state is RequestState.ISSUING:
            # The outcome of the first copy was never stored, and it holds the challenge password of this one.
            try:
                await self._authority.give_up_stale(earlier.request)
            except Conflict:
                # It completed after it was read.
                completed = await self._store.repeated(digest, self._authority.now())
                return None if completed is None else self.result_of(completed)
        return result

    async def usable_digest(self, digest: bytes) -> bytes:
        """Return *digest*, or the first one derived from it without a revoked or expired certificate.

        A poll must not return a certificate that its owner can't use any more.
        """
        while True:
            now = self._authority.now()
            earlier = await self._store.repeated(digest, now)
            certificate = None if earlier is None else earlier.certificate
            if certificate is None or certificate.status(now) is CertificateStatus.VALID:
                return digest
            digest = hashlib.sha256(b"EST again" + digest).digest()

    def result_of(self, earlier: Repeated) -> Issued | Pending | None:
        """Return the result of a stored request, or None if it must be processed again.

        :raises NotAuthorized: when it was rejected.
        """
        if earlier.certificate is not None:
            issuer = self._authority.issuers.by_id(earlier.certificate.issuer_id)
            return None if issuer is None else Issued(earlier.certificate, issuer)
        state = earlier.request.state
        if state is RequestState.REJECTED:
            raise NotAuthorized("this request was rejected", reason=earlier.request.reason)
        # An approved request that is being signed stays pending: to process it again would discard the approval.
        approved = state is RequestState.ISSUING and earlier.request.decided_by is not None
        if state is RequestState.PENDING or approved:
            return Pending(earlier.request.id, self._settings.retry_after)
        return None


def presented_identity(request: AuthorizedRequest) -> str:
    """Return the identity of the client certificate of a manufacturer, or an empty string without one."""
    presented = request.principal.certificate
    if presented is None or presented.own:
        return ""
    return device_name(read_name(presented.subject_der), certificate_sans(presented.der))


def _log_ignored(csr: CertificationRequest, issuance: IssuanceRequest) -> None:
    """Log what of the CSR was passed over; that stops no request, but may be what somebody is looking for."""
    parts = [f"{part.oid or 'unreadable'}: {part.reason}" for part in csr.ignored]
    parts += [f"{name}: The policy does not copy it." for name in issuance.ignored_names]
    if parts:
        log.debug("Parts of the CSR of {subject} were ignored: {parts}", subject=csr.subject, parts=" ".join(parts))


def certificate_owner(principal: Principal, stored: StoredCSR | None) -> int | None:
    """Return the future owner of a certificate: that of the stored CSR, also when an administrator submits it."""
    return principal.owner_id if stored is None else stored.owner_id


def _validity(policy: Policy, days: int | None) -> int:
    """Return the validity in days that a policy grants.

    :param days: the validity that the requester chose.
    :raises PolicyViolation: when it is not a validity, or exceeds the policy's maximum.
    """
    maximum = policy.limits.max_days
    if days is not None:
        check_days(days)
        if maximum is not None and days > maximum:
            raise PolicyViolation(f"the policy allows at most {maximum} days", field="days")
    granted = policy.days if days is None else days
    return granted if maximum is None else min(granted, maximum)


def _audit_details(request: AuthorizedRequest) -> dict[str, object]:
    principal, received = request.principal, request.verified.received
    details: dict[str, object] = {
        "policy": request.policy.name,
        "key": request.verified.key.text,
        "authenticated_by": principal.kind.value,
    }
    if received.label is not None:
        details["label"] = received.label
    if request.renews:
        details["renews"] = request.renews
    if request.principal.job_id is not None:
        details["job"] = request.principal.job_id
    if principal.challenge_label:
        details["challenge_password_label"] = principal.challenge_label
    if principal.kind is PrincipalKind.CLIENT_CERTIFICATE and principal.certificate is not None:
        details["client_certificate"] = f"{principal.certificate.serial:x}"
    return details
