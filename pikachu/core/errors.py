"""The error classes of the program, named by cause.

They contain no HTTP status, failInfo or OCSP status: each protocol has one table that maps these classes
(``docs/errors.md``), and a test requires every class to have an entry in each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pikachu.core.model.lint import Finding

T = TypeVar("T")


class PikachuError(Exception):
    """A failure with a message that a client may read.

    :param public: one line, shown to the client.
    :param context: for the log only; never shown to a client.  But ``field`` is the name of the form field that is
        wrong, so that pages show the message beside it.
    """

    def __init__(self, public: str, **context: object) -> None:
        super().__init__(public)
        self.public = public
        self.field = str(context.pop("field", ""))
        self.context = context


class RequestError(PikachuError):
    """An error that the caller can correct."""


@contextmanager
def errors_of(field: str, kind: type[RequestError] = RequestError) -> Iterator[None]:
    """Name the form field in errors of a kind that are raised within and name none."""
    try:
        yield
    except kind as error:
        error.field = error.field or field
        raise


class MalformedRequest(RequestError):
    """The bytes do not conform to the protocol."""


class TooLarge(RequestError):
    """The request, or a field of it, exceeds a limit of this server."""


class UnsupportedAlgorithm(RequestError):
    """A digest, cipher or key algorithm that this server does not accept."""


class BadCSR(RequestError):
    """The certificate signing request can't be accepted from any requester."""


class BadPublicKey(BadCSR):
    """The key in the CSR is weak, malformed or of a type not accepted."""


class ProofOfPossessionFailed(BadCSR):
    """The CSR's signature does not verify with the key in it."""


class MessageCheckFailed(RequestError):
    """A signed or encrypted message does not verify or decrypt (one error for all causes)."""


class UnknownRecipient(RequestError):
    """A message is encrypted for a certificate that is not this server's."""


class BadBackup(MalformedRequest):
    """A file is not a backup of this program, was damaged, or does not open with the passphrase."""


class BadTime(RequestError):
    """The signing time is too far from the current time."""


class AuthenticationFailed(RequestError):
    """Credentials are missing or invalid."""


class NotAuthorized(RequestError):
    """The authenticated principal may not do this."""


class InactiveOwner(NotAuthorized):
    """The account that owns the credentials or the request is pending, suspended or deleted."""


class PolicyViolation(RequestError):
    """The enrollment policy does not permit the request."""


class IssuerRevoked(PolicyViolation):
    """The certificate of an issuing CA, or of a CA above it, is revoked, so it issues nothing any more."""

    @classmethod
    def of(cls, name: str) -> IssuerRevoked:
        """Return the error for the issuing CA of that name."""
        return cls(
            f"The issuing CA {name} was revoked, or a CA above it, and it issues no certificates any more. Use another "
            "issuing CA, or have an administrator rotate this one."
        )


class RetiredDevice(PolicyViolation):
    """The device that the certificate would be for is retired."""


class LintFailed(PolicyViolation):
    """A certificate, or the sample certificate of a policy, has errors that nobody has accepted (LNT-1).

    :param findings: the errors.
    """

    def __init__(self, public: str, findings: tuple[Finding, ...], **context: object) -> None:
        super().__init__(public, **context)
        self.findings = findings


class BadTemplate(RequestError):
    """A certificate template or a policy's extension text is wrong.

    :param line: the line number, from 1; 0 for the text as a whole.
    """

    def __init__(self, line: int, reason: str, **context: object) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason, **context)
        self.line = line


class ConfirmationRequired(RequestError):
    """The operation requires confirmation."""


class NotFound(RequestError):
    """The object does not exist, or the caller may not see it."""


class UnknownSerial(NotFound):
    """No certificate of this authority has that serial number."""


class Conflict(RequestError):
    """The state of the object does not permit the operation, or its name is taken."""


class AccountChanged(Conflict):
    """The account has changed since the requester was authenticated by what was cached of it."""


class EditConflict(Conflict):
    """Another user changed the object after the caller loaded it."""

    @classmethod
    def of(cls, kind: str, changed_by: str | None, changed_at: datetime | None) -> EditConflict:
        """Return the error for an object that was changed after it was loaded.

        :param kind: the kind of object, for the message.
        :param changed_by: ``None`` when not recorded; likewise *changed_at*.
        """
        time = "" if changed_at is None else f" on {changed_at:%Y-%m-%d at %H:%M:%S} UTC"
        who = "" if changed_by is None else f" by {changed_by}"
        return cls(f"This {kind} was changed{who}{time}, after you loaded it. Your changes were not saved.")


class QuotaExceeded(Conflict):
    """The account has as many objects of this kind as the configuration allows."""


class RateLimited(RequestError):
    """The client has caused too many failures and must wait.

    :param retry_after: seconds to wait.
    """

    def __init__(self, public: str, *, retry_after: int, **context: object) -> None:
        super().__init__(public, **context)
        self.retry_after = retry_after


class Unavailable(PikachuError):
    """A dependency of this server does not answer.

    :param retry_after: seconds after which to retry.
    """

    def __init__(self, public: str, *, retry_after: int = 5, **context: object) -> None:
        super().__init__(public, **context)
        self.retry_after = retry_after


class StoreUnavailable(Unavailable):
    """The database does not answer."""


class SignerUnavailable(Unavailable):
    """The issuing key can't be used now.

    :ivar may_have_signed: whether what was to be signed may have been signed all the same.
    """

    may_have_signed = False


class DirectoryUnavailable(Unavailable):
    """The LDAP directory does not answer."""


class BrokerUnavailable(Unavailable):
    """The MQTT broker does not answer, or refuses a message."""


class NoticeNotDelivered(Unavailable):
    """A mail server or the receiver of a webhook does not answer, or has refused a notice.

    :param is_final: whether trying again can't help.
    """

    def __init__(self, public: str, *, retry_after: int = 5, is_final: bool = False, **context: object) -> None:
        super().__init__(public, retry_after=retry_after, **context)
        self.is_final = is_final


class SecretKeyChanged(Unavailable):
    """A stored secret was sealed under another SECRET_KEY."""


class Overloaded(Unavailable):
    """A bounded queue is full."""


class IssuanceFailed(PikachuError):
    """An invariant of issuance was violated; nothing was issued, and the error is logged."""


class ConfigError(Exception):
    """The program can't start with this configuration; the message is one line for the operator."""


def entry_of(error: PikachuError, table: Mapping[type[PikachuError], T]) -> T:
    """Return the entry of *table* for the class of *error*, or for its nearest base class.

    :param table: a protocol's error table, with an entry for :class:`PikachuError`.
    """
    return next(table[kind] for kind in type(error).__mro__ if kind in table)
