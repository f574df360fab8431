"""What every enrollment goes through, however it came: sound or not, which CA, what is granted, waiting or not."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.auth.authenticator import Authenticator
from pikachu.ca.issuance import CertificateAuthority, IssuanceRequest, IssuingCA
from pikachu.core.concurrency import start
from pikachu.core.errors import AuthenticationFailed, Conflict, NotAuthorized, PolicyViolation, RequestError
from pikachu.core.interfaces import Begun, IStore, Repeated
from pikachu.core.model.certificates import CertificateRecord, Method
from pikachu.core.model.people import Principal, PrincipalKind
from pikachu.core.model.policies import Approval, Policy
from pikachu.core.model.requests import NewRequest, RequestState, StoredCSR
from pikachu.ra.policies import PolicyResolver, check_days, check_limits
from pikachu.x509.certificate import SUBJECT_ALTERNATIVE_NAME
from pikachu.x509.csr import CertificationRequest, verify_csr
from pikachu.x509.extension import Extension
from pikachu.x509.names import names_equal
from pikachu.x509.profile import Addresses, leaf_extensions
from pikachu.x509.spki import KeyDescription
from pikachu.x509.template import ExtensionContext

log = Logger()


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate was issued, now or for an earlier copy of the same request."""

    record: CertificateRecord
    issuer: IssuingCA


@dataclass(frozen=True, slots=True)
class Pending:
    """A person has to look at it first.

    :param retry_after: seconds.
    """

    request_id: int
    retry_after: int


@dataclass(frozen=True, slots=True)
class RegistrationSettings:
    """What the configuration says about enrollment.

    :param public_url: base of the AIA and CDP addresses that the CA adds; ``None`` adds none.
    :param anonymous_est: EST is open to anyone (a switch for laboratories).
    :param est_linked: EST requests must carry the channel binding, whatever the policy says.
    :param scep_challenge: SCEP enrollments need a challenge password.
    :param retry_after: seconds that a waiting client is told to wait.
    """

    public_url: str | None = None
    anonymous_est: bool = False
    est_linked: bool = False
    scep_challenge: bool = True
    retry_after: int = 60


@dataclass(frozen=True, slots=True)
class VerifiedRequest:
    """A request that passed every check but the policy's."""

    csr: CertificationRequest
    key: KeyDescription


class SingleFlight:
    """Does once what several ask for at the same time, and gives its result to all of them."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, list[Deferred[Issued | Pending]]] = {}

    def run(self, key: bytes, work: Callable[[], Coroutine[Any, Any, Issued | Pending]]) -> Deferred[Issued | Pending]:
        """The result of the *work* that is under way for *key*, begun now when there is none."""
        turn: Deferred[Issued | Pending] = Deferred()
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(turn)
            return turn
        self._waiting[key] = [turn]
        start(work()).addBoth(self._tell, key)
        return turn

    def _tell(self, result: Issued | Pending | Failure, key: bytes) -> None:
        for turn in self._waiting.pop(key):
            if isinstance(result, Failure):
                turn.errback(result)
            else:
                turn.callback(result)


class EnrollmentService:
    """The part of the registration authority that EST, SCEP, REST and the command line share."""

    def __init__(
        self,
        store: IStore,
        authority: CertificateAuthority,
        policies: PolicyResolver,
        authenticator: Authenticator,
        settings: RegistrationSettings,
    ) -> None:
        self._store = store
        self._authority = authority
        self.policies = policies
        self._authenticator = authenticator
        self._settings = settings
        self._est_together = SingleFlight()
        self._scep_together = SingleFlight()

    def issuer_for(self, policy: Policy, protocol: Method) -> IssuingCA:
        """The CA that signs under a policy: the one it names, for SCEP ``rsa`` where configured, else the default."""
        issuers = self._authority.issuers
        if policy.issuer is not None:
            return issuers.named(policy.issuer)
        if protocol is Method.SCEP and "rsa" in issuers.current:
            return issuers.named("rsa")
        return issuers.default

    def _order(self, sound: VerifiedRequest, policy: Policy, protocol: Method, days: int | None) -> IssuanceRequest:
        issuer = self.issuer_for(policy, protocol)
        limits = policy.limits
        names = [name.text for name in sound.csr.names] if limits.honour_names else []
        check_limits(policy, sound.key, sound.csr.subject, names)
        if days is not None:
            check_days(days)
        if days is not None and limits.max_days is not None and days > limits.max_days:
            raise PolicyViolation(f"the policy allows at most {limits.max_days} days")
        granted = policy.days if days is None else days
        if limits.max_days is not None:
            granted = min(granted, limits.max_days)
        context, text = self._context(sound, issuer), self.policies.texts.get(policy.extensions)
        # A policy that names subjectAltName decides about it, also where it comes to nothing.
        own_names = text.names(SUBJECT_ALTERNATIVE_NAME, context.variables)
        honoured = limits.honour_names and not own_names
        said = text.extensions(context)
        extensions = leaf_extensions(
            policy=said,
            requested_names=sound.csr.extension(SUBJECT_ALTERNATIVE_NAME) if honoured else None,
            subject_der=sound.csr.subject_der,
            key=sound.key,
            issuer=issuer.certificate,
            addresses=self.addresses(issuer),
        )
        return IssuanceRequest(
            issuer,
            policy,
            sound.csr.name,
            sound.key,
            extensions,
            granted,
            days is not None,
            sound.csr.der,
            policy_extensions=said,
        )

    async def _prepare(self, policy: Policy, protocol: Method) -> None:
        """Compile a policy's text in the pool where that was not done before.

        What is wrong with the policy shows when a request is decided.  Fails with Overloaded.
        """
        with suppress(RequestError):
            variables = self._variables(self.issuer_for(policy, protocol))
            if not self.policies.texts.is_ready(policy.extensions, variables):
                await self.policies.texts.prepare(policy.extensions, variables)

    def _decide(
        self, method: Method, sound: VerifiedRequest, principal: Principal, policy: Policy, days: int | None
    ) -> IssuanceRequest:
        """What *principal* gets for a sound request: what a preview shows, and what is signed."""
        certificate = principal.certificate
        if (
            policy.limits.own_subject
            and certificate is not None
            and not names_equal(certificate.subject_der, sound.csr.subject_der)
        ):
            raise NotAuthorized("the policy lets a client certificate enroll its own subject only")
        return self._order(sound, policy, method, days)

    def _context(self, sound: VerifiedRequest, issuer: IssuingCA) -> ExtensionContext:
        certificate = issuer.certificate
        names = certificate.extension(SUBJECT_ALTERNATIVE_NAME)
        return ExtensionContext(
            issuer_key_identifier=certificate.key_identifier,
            issuer_issuer_der=certificate.issuer_der,
            issuer_serial=certificate.serial,
            issuer_names=None if names is None else names.value,
            subject_spki=sound.key.spki,
            subject_der=sound.csr.subject_der,
            variables=self._variables(issuer),
        )

    def _variables(self, issuer: IssuingCA) -> dict[str, str]:
        return {
            "ca": issuer.name,
            "ski": issuer.key_identifier.hex(),
            "http_url": (self._settings.public_url or "").rstrip("/"),
        }

    def addresses(self, issuer: IssuingCA) -> Addresses | None:
        """AIA and CDP of the certificates of an issuer, when ``public_url`` is set."""
        if self._settings.public_url is None:
            return None
        base = self._settings.public_url.rstrip("/")
        return Addresses(
            ocsp=f"{base}/ocsp",
            ca_issuers=f"{base}/ca/{issuer.key_identifier.hex()}.cer",
            crl=f"{base}/crl/{issuer.key_identifier.hex()}.crl",
        )

    async def _proceed(
        self,
        method: Method,
        sound: VerifiedRequest,
        principal: Principal,
        policy: Policy,
        *,
        label: str | None = None,
        days: int | None = None,
        dedupe: bytes | None = None,
        dedupe_seconds: int | None = None,
        transaction: bytes | None = None,
        requester_key: bytes | None = None,
        stored: StoredCSR | None = None,
    ) -> Issued | Pending:
        await self._prepare(policy, method)
        order = self._decide(method, sound, principal, policy, days)
        presented = principal.certificate
        actors = {principal.owner_id, None if presented is None else presented.owner_id}
        request = NewRequest(
            method=method,
            csr=sound.csr.der,
            subject=sound.csr.subject,
            key_type=sound.key.text,
            key_id=sound.key.key_id,
            policy=policy.name,
            issuer=order.issuer.name,
            principal=principal.name,
            owner_id=requester(principal, stored),
            created_at=self._authority.now(),
            address=principal.address,
            actor_id=principal.owner_id,
            dedupe=dedupe,
            dedupe_seconds=dedupe_seconds,
            transaction=transaction,
            requester_key=requester_key,
            challenge_id=principal.challenge_id,
            label=label,
            validity_days=days,
            csr_id=None if stored is None else stored.id,
            actor_ids=frozenset(one for one in actors if one is not None),
        )
        if policy.approval is Approval.MANUAL:
            return await self._wait_for_approval(request)
        try:
            record = await self._authority.issue(request, order, _told(request, principal))
        except Conflict as error:
            if principal.challenge_id is None:
                raise
            # Another request was quicker: for this one the challenge password is as good as wrong.
            raise AuthenticationFailed(error.public) from error
        issuer = self._authority.issuers.by_id(record.issuer_id)
        return Issued(record, issuer or order.issuer)

    async def _wait_for_approval(self, request: NewRequest) -> Issued | Pending:
        begun = await start(self._record(request))
        if isinstance(begun, Repeated):
            found = self._repeated(begun)
            if found is not None:
                return found
            raise PolicyViolation("this request failed before; make a new one")
        log.info("Request {id} of {subject} waits for approval", id=begun.request_id, subject=request.subject)
        return Pending(begun.request_id, self._settings.retry_after)

    async def _record(self, request: NewRequest) -> Begun | Repeated:
        return await self._store.begin(request, None, self._authority.now())

    async def _earlier(self, dedupe: bytes) -> Issued | Pending | None:
        earlier = await self._store.repeated(dedupe, self._authority.now())
        if earlier is None:
            return None
        found = self._repeated(earlier)
        lost = earlier.request.state is RequestState.ISSUING and not self._authority.is_under_way(dedupe)
        if found is None and lost:
            # The first copy ended without its end being stored; it holds the challenge password of this one.
            try:
                await self._authority.give_up_stale(earlier.request)
            except Conflict:
                # It has ended since it was read here.
                ended = await self._store.repeated(dedupe, self._authority.now())
                return None if ended is None else self._repeated(ended)
        return found

    def _repeated(self, earlier: Repeated) -> Issued | Pending | None:
        """What a request that was here before is worth now; ``None``: it has to be made anew."""
        if earlier.certificate is not None:
            issuer = self._authority.issuers.by_id(earlier.certificate.issuer_id)
            return None if issuer is None else Issued(earlier.certificate, issuer)
        state = earlier.request.state
        if state is RequestState.REJECTED:
            raise NotAuthorized("this request was rejected", reason=earlier.request.reason)
        # What was approved and is being signed goes on waiting: to make it anew would undo the approval.
        approved = state is RequestState.ISSUING and earlier.request.decided_by is not None
        if state is RequestState.PENDING or approved:
            return Pending(earlier.request.id, self._settings.retry_after)
        return None


def check_request(csr: CertificationRequest, *, allow_sha1: bool = False, allow_md5: bool = False) -> VerifiedRequest:
    """Step 2: proof of possession, the key, and the names; nothing of policy.

    :raises BadCSR: or one of its kind, UnsupportedAlgorithm, PolicyViolation for names nobody may have.
    """
    key = verify_csr(csr, allow_sha1=allow_sha1, allow_md5=allow_md5)
    return VerifiedRequest(csr, key)


def requested_names(csr: CertificationRequest) -> bytes | None:
    """The value of the subjectAltName that a request asks for."""
    extension: Extension | None = csr.extension(SUBJECT_ALTERNATIVE_NAME)
    return None if extension is None else extension.value


def requester(principal: Principal, stored: StoredCSR | None) -> int | None:
    """Who will own the certificate: who keeps the request here, also where an admin hands it in."""
    return principal.owner_id if stored is None else stored.owner_id


def _told(request: NewRequest, principal: Principal) -> Mapping[str, object]:
    told: dict[str, object] = {
        "policy": request.policy,
        "key": request.key_type,
        "authenticated_by": principal.kind.value,
    }
    if request.label is not None:
        told["label"] = request.label
    if principal.kind is PrincipalKind.CLIENT_CERTIFICATE and principal.certificate is not None:
        told["client_certificate"] = f"{principal.certificate.serial:x}"
    return told
