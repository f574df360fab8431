"""HTTP problems: one table of errors for pages and REST (docs/errors.md); problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from pikachu.core.errors import (
    AccountChanged,
    AuthenticationFailed,
    BadBackup,
    BadCSR,
    BadPublicKey,
    BadTemplate,
    BadTime,
    BrokerUnavailable,
    ConfirmationRequired,
    Conflict,
    DirectoryUnavailable,
    EditConflict,
    InactiveOwner,
    IssuanceFailed,
    IssuerRevoked,
    LintFailed,
    MalformedRequest,
    MessageCheckFailed,
    NotAuthorized,
    NotFound,
    NoticeNotDelivered,
    Overloaded,
    PikachuError,
    PolicyViolation,
    ProofOfPossessionFailed,
    QuotaExceeded,
    RateLimited,
    RequestError,
    RetiredDevice,
    SecretKeyChanged,
    SignerUnavailable,
    StoreUnavailable,
    TooLarge,
    Unavailable,
    UnknownRecipient,
    UnknownSerial,
    UnsupportedAlgorithm,
    entry_of,
)
from pikachu.core.model.lint import Finding
from pikachu.core.sentences import sentence


@dataclass(frozen=True, slots=True)
class Outcome:
    """The HTTP status and title of a class of failures.

    :param title: the same for the whole class; ``type`` is derived from it.
    """

    status: int
    title: str

    @property
    def type(self) -> str:
        """Return the URI that identifies the class of failures."""
        return f"urn:pikachu:problem:{self.title.lower().replace(' ', '-')}"


OUTCOMES: Final[Mapping[type[PikachuError], Outcome]] = MappingProxyType(
    {
        PikachuError: Outcome(500, "Internal error"),
        RequestError: Outcome(400, "Bad request"),
        MalformedRequest: Outcome(400, "Malformed request"),
        TooLarge: Outcome(413, "Too large"),
        UnsupportedAlgorithm: Outcome(422, "Unsupported algorithm"),
        BadBackup: Outcome(400, "Bad backup"),
        BadCSR: Outcome(422, "Bad certificate request"),
        BadPublicKey: Outcome(422, "Bad public key"),
        ProofOfPossessionFailed: Outcome(422, "Proof of possession failed"),
        MessageCheckFailed: Outcome(400, "Message check failed"),
        UnknownRecipient: Outcome(400, "Unknown recipient"),
        BadTime: Outcome(400, "Bad time"),
        AuthenticationFailed: Outcome(401, "Authentication failed"),
        NotAuthorized: Outcome(403, "Not authorized"),
        InactiveOwner: Outcome(403, "Account not active"),
        PolicyViolation: Outcome(422, "Policy violation"),
        IssuerRevoked: Outcome(422, "Issuing CA revoked"),
        RetiredDevice: Outcome(422, "Device retired"),
        LintFailed: Outcome(422, "Lint failed"),
        BadTemplate: Outcome(422, "Bad template"),
        ConfirmationRequired: Outcome(409, "Confirmation required"),
        NotFound: Outcome(404, "Not found"),
        UnknownSerial: Outcome(404, "Unknown serial number"),
        Conflict: Outcome(409, "Conflict"),
        EditConflict: Outcome(409, "Edit conflict"),
        AccountChanged: Outcome(409, "Account changed"),
        QuotaExceeded: Outcome(409, "Quota exceeded"),
        RateLimited: Outcome(429, "Too many failures"),
        Unavailable: Outcome(503, "Unavailable"),
        StoreUnavailable: Outcome(503, "Database unavailable"),
        SignerUnavailable: Outcome(503, "Signer unavailable"),
        DirectoryUnavailable: Outcome(503, "Directory unavailable"),
        BrokerUnavailable: Outcome(503, "Broker unavailable"),
        NoticeNotDelivered: Outcome(503, "Notice not delivered"),
        SecretKeyChanged: Outcome(503, "Secret key changed"),
        Overloaded: Outcome(503, "Overloaded"),
        IssuanceFailed: Outcome(500, "Issuance failed"),
    }
)


class HTTPProblem(Exception):
    """A failure that only HTTP knows, such as 405 and 415; it never leaves ``web``.

    :param detail: one line for the client.
    :param headers: of the response.
    """

    def __init__(self, status: HTTPStatus, detail: str, headers: Mapping[bytes, bytes] | None = None) -> None:
        super().__init__(detail)
        self.status = int(status)
        self.detail = detail
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Problem:
    """Problem details of a failure.

    :param type: a URI; ``about:blank`` where the status is sufficient (RFC 9457 section 4.2.1).
    :param failure_id: id of the failure in the log.
    :param headers: of the response.
    :param findings: the errors of lint.
    """

    status: int
    type: str
    title: str
    detail: str
    failure_id: str | None = None
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def document(self) -> dict[str, object]:
        """Return the members of the problem details object."""
        members: dict[str, object] = {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.failure_id is not None:
            members["instance"] = f"urn:pikachu:failure:{self.failure_id}"
            members["failure_id"] = self.failure_id
        if self.findings:
            members["findings"] = [asdict(finding) for finding in self.findings]
        return members


def outcome_of(error: PikachuError) -> Outcome:
    """Return the table row for a failure."""
    return entry_of(error, OUTCOMES)


def problem_of(error: PikachuError, failure_id: str | None = None) -> Problem:
    """Return the problem for a failure of the layers below."""
    outcome = outcome_of(error)
    headers: dict[bytes, bytes] = {}
    if isinstance(error, RateLimited | Unavailable):
        headers[b"Retry-After"] = b"%d" % max(1, error.retry_after)
    findings = error.findings if isinstance(error, LintFailed) else ()
    return Problem(outcome.status, outcome.type, outcome.title, sentence(error.public), failure_id, headers, findings)


def status_problem(status: int, detail: str, headers: Mapping[bytes, bytes] | None = None) -> Problem:
    """Return a problem that its status describes completely."""
    return Problem(status, "about:blank", HTTPStatus(status).phrase, sentence(detail), None, headers or {})


def unexpected_problem(failure_id: str) -> Problem:
    """Return the problem for an unexpected failure: the client learns only its id."""
    outcome = OUTCOMES[PikachuError]
    detail = f"Something went wrong. The server's log has the cause under {failure_id}."
    return Problem(outcome.status, outcome.type, outcome.title, detail, failure_id)
