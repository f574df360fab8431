"""The two ways in which Vault does not do what was requested."""

from __future__ import annotations

from pikachu.core.errors import SignerUnavailable

RETRY_AFTER_SECONDS = 10


class VaultFault(SignerUnavailable):
    """A call to Vault that did not give its result.

    Clients of the protocols read only that the key can't be used now.

    :ivar reason: one line for operators, with what to do; contains no secret.
    """

    def __init__(self, reason: str, **context: object) -> None:
        super().__init__(
            "The issuing key can't be used now. Try again later.",
            retry_after=RETRY_AFTER_SECONDS,
            reason=reason,
            **context,
        )
        self.reason = reason

    def __str__(self) -> str:
        """Return the reason, for logs and the command line."""
        return self.reason


class VaultUnreachable(VaultFault):
    """Vault can't be reached, is sealed, or gives an answer that is not Vault's.

    :ivar was_sent: whether Vault may have received, and carried out, the request.
    """

    def __init__(self, reason: str, *, was_sent: bool = True, **context: object) -> None:
        super().__init__(reason, **context)
        self.was_sent = self.may_have_signed = was_sent


class VaultRefused(VaultFault):
    """Vault answers, and refuses: credentials, a policy, a mount or a key has to be fixed.

    :ivar status: the HTTP status of the refusal; 0 when the answer itself is not acceptable, or nothing is mounted.
    """

    def __init__(self, reason: str, *, status: int = 0, **context: object) -> None:
        super().__init__(reason, **context)
        self.status = status
