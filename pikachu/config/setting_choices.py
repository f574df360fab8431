"""Enumerations for settings with a fixed set of values."""

from __future__ import annotations

from enum import StrEnum


class RequireSecondFactor(StrEnum):
    """The accounts that have to sign in with a second factor."""

    NONE = "none"
    ADMINS = "admins"
    ALL = "all"


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
    """Log levels, from the most to the least verbose (RUN-7)."""

    TRACE = "TRACE"
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


class KeyPermissions(StrEnum):
    """Action for a private key file that others can read (INIT-3)."""

    REFUSE = "refuse"
    WARN = "warn"


class VaultSigner(StrEnum):
    """The Vault secrets engine that signs (VLT-1)."""

    PKI = "pki"
    TRANSIT = "transit"


class SCEPRegistrationAuthority(StrEnum):
    """Use of an RA certificate in front of the issuing CA (SCEP-2)."""

    AUTO = "auto"
    NEVER = "never"
    ALWAYS = "always"


class Base64Wrap(StrEnum):
    """Wrapping of EST's Base64 into lines of 64 characters."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class ForeignIssuer(StrEnum):
    """The OCSP response for an issuer that this CA does not operate."""

    UNAUTHORIZED = "unauthorized"
    UNKNOWN = "unknown"


class LDAPSecurity(StrEnum):
    """Transport security of LDAP; loading resolves TRUE to LDAPS or StartTLS."""

    FALSE = "false"
    TRUE = "true"
    STARTTLS = "starttls"
    LDAPS = "ldaps"


class SMTPSecurity(StrEnum):
    """Transport security of SMTP."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"
