"""Everything that can go wrong, named by what happened.

No HTTP status, failInfo or OCSP status is in here: each outlet has one table
that maps these classes (``docs/errors.md``), and a test requires every class
to have an entry in each.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

T = TypeVar("T")


class PikachuError(Exception):
    """A failure with a message that a client may read.

    :param public: one line, shown to the client.
    :param context: for the log only; never shown to a client.
    """

    def __init__(self, public: str, **context: object) -> None:
        super().__init__(public)
        self.public = public
        self.context = context


class RequestError(PikachuError):
    """The caller can mend it."""


class MalformedRequest(RequestError):
    """The bytes are not what the protocol says they should be."""


class TooLarge(RequestError):
    """The request, or a part of it, exceeds a limit of this server."""


class UnsupportedAlgorithm(RequestError):
    """A digest, cipher or key algorithm that this server does not accept."""


class BadCSR(RequestError):
    """The certificate signing request can't be accepted, whoever asks."""


class BadPublicKey(BadCSR):
    """The key in the request is weak, malformed or of a kind not accepted."""


class ProofOfPossessionFailed(BadCSR):
    """The request's signature does not verify with the key in it."""


class MessageCheckFailed(RequestError):
    """A signed or encrypted message does not verify or decrypt (one answer for all of these)."""


class UnknownRecipient(RequestError):
    """A message was encrypted for a certificate that is not this server's."""


class BadTime(RequestError):
    """A signing time too far from now."""


class AuthenticationFailed(RequestError):
    """No credentials, or credentials that prove nothing."""


class NotAuthorized(RequestError):
    """Known, but not allowed to do this."""


class InactiveOwner(NotAuthorized):
    """The account that owns the credentials or the request is pending, suspended or deleted."""


class PolicyViolation(RequestError):
    """The enrollment policy does not allow what was asked for."""


class BadTemplate(RequestError):
    """A certificate template or a policy's extension text is wrong.

    :param line: where, from 1; 0 when it is the text as a whole.
    """

    def __init__(self, line: int, reason: str, **context: object) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason, **context)
        self.line = line


class ConfirmationRequired(RequestError):
    """The operation must be confirmed before it is done."""


class NotFound(RequestError):
    """No such object, or none that the caller may know of."""


class UnknownSerial(NotFound):
    """No certificate of this authority has that serial."""


class Conflict(RequestError):
    """The state of the object does not allow it, or its name is taken."""


class EditConflict(Conflict):
    """Somebody else changed the object after the caller loaded it."""

    @classmethod
    def of(cls, what: str, changed_by: str | None, changed_at: datetime | None) -> EditConflict:
        """Return the error for a *what* that is not the loaded one any more.

        :param changed_by: ``None`` where that is not recorded; likewise *changed_at*.
        """
        time = "" if changed_at is None else f" on {changed_at:%Y-%m-%d at %H:%M:%S} UTC"
        return cls(
            f"{changed_by or 'Somebody'} changed this {what}{time}, after you loaded it. Your changes were not saved."
        )


class QuotaExceeded(Conflict):
    """The account has as many objects of this kind as the configuration allows."""


class RateLimited(RequestError):
    """Too many failures from here; try later.

    :param retry_after: seconds to wait.
    """

    def __init__(self, public: str, *, retry_after: int, **context: object) -> None:
        super().__init__(public, **context)
        self.retry_after = retry_after


class Unavailable(PikachuError):
    """Something that this server needs does not answer now.

    :param retry_after: seconds after which a new try makes sense.
    """

    def __init__(self, public: str, *, retry_after: int = 5, **context: object) -> None:
        super().__init__(public, **context)
        self.retry_after = retry_after


class StoreUnavailable(Unavailable):
    """The database does not answer."""


class SignerUnavailable(Unavailable):
    """The issuing key can't be used now."""


class DirectoryUnavailable(Unavailable):
    """The LDAP directory does not answer."""


class SecretKeyChanged(Unavailable):
    """What is stored here was sealed under another SECRET_KEY."""


class Overloaded(Unavailable):
    """A bounded queue is full."""


class IssuanceFailed(PikachuError):
    """An invariant of issuance broke; nothing was handed out, operators are told."""


class ConfigError(Exception):
    """The program can't start with this configuration.  One line, for the operator."""


def entry_of(error: PikachuError, table: Mapping[type[PikachuError], T]) -> T:
    """What an outlet's *table* says of the class of *error*, or of the nearest class above it.

    :param table: has an entry for :class:`PikachuError`.
    """
    return next(table[kind] for kind in type(error).__mro__ if kind in table)
