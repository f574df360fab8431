"""Settings that take one of a few words."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """The issuing CA of new certificates."""

    EC = "EC"
    RSA = "RSA"
    MLDSA = "MLDSA"

    @property
    def issuer(self) -> str:
        """Its name in paths, API and CLI (INT-3)."""
        return self.value.lower()


class LogLevel(StrEnum):
    """Levels of the log, from the most to the least talkative (RUN-7)."""

    TRACE = "TRACE"
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


class KeyPermissions(StrEnum):
    """What happens to a private key file that others can read (INIT-3)."""

    REFUSE = "refuse"
    WARN = "warn"


class VaultSigner(StrEnum):
    """Which engine of Vault signs (VLT-1)."""

    PKI = "pki"
    TRANSIT = "transit"


class SCEPRegistrationAuthority(StrEnum):
    """Whether an RA certificate stands before the issuing CA (SCEP-2)."""

    AUTO = "auto"
    NEVER = "never"
    ALWAYS = "always"


class Base64Wrap(StrEnum):
    """Whether EST's base64 is broken into lines of 64."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class ForeignIssuer(StrEnum):
    """The OCSP answer for an issuer that is not here."""

    UNAUTHORIZED = "unauthorized"
    UNKNOWN = "unknown"


class LDAPSecurity(StrEnum):
    """How the directory is reached; TRUE becomes LDAPS or StartTLS when the file is read."""

    FALSE = "false"
    TRUE = "true"
    STARTTLS = "starttls"
    LDAPS = "ldaps"
