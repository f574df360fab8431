"""The certification path of an issuing CA: what the CAs from it to the root permit below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from pikachu.core.errors import IssuanceFailed, PikachuError, PolicyViolation
from pikachu.x509.certificate import Certificate, parse_certificate
from pikachu.x509.constraints import (
    NameConstraints,
    check_names,
    check_path_length,
    check_purposes,
    read_name_constraints,
)
from pikachu.x509.extension import Extension
from pikachu.x509.names import Name


@dataclass(frozen=True)
class CertificationPath:
    """The CAs from an issuing CA to the root.

    :ivar certificates: those of the CAs, the issuing CA's first.
    :ivar name_constraints: those of all CAs that have some.
    """

    certificates: tuple[Certificate, ...]
    name_constraints: tuple[NameConstraints, ...]

    @classmethod
    def read(cls, chain: Sequence[bytes]) -> CertificationPath:
        """Read DER certificates.

        :raises IssuanceFailed: one of them, or its name constraints, can't be read.
        """
        try:
            certificates = tuple(parse_certificate(der) for der in chain)
            constraints = (read_name_constraints(certificate) for certificate in certificates)
            return cls(certificates, tuple(one for one in constraints if one is not None))
        except PikachuError as error:
            raise IssuanceFailed("The chain of an issuing CA can't be read.", error=error.public) from error

    @cached_property
    def ends_at(self) -> datetime:
        """The end of its validity: no certificate below is good for longer."""
        return min(certificate.not_after for certificate in self.certificates)

    @property
    def limits_purposes(self) -> bool:
        """Whether a CA has an extendedKeyUsage, which limits that of the certificates below."""
        return any(certificate.extended_key_usage is not None for certificate in self.certificates)

    def check(self, subject: Name, extensions: Sequence[Extension]) -> None:
        """Require that all CAs permit a certificate with these names and extensions.

        :raises PolicyViolation: one of them does not.
        """
        check_path_length(self.certificates, extensions)
        self.check_purposes(extensions)
        check_names(self.name_constraints, subject, extensions)

    def check_purposes(self, extensions: Sequence[Extension]) -> None:
        """Require that all CAs permit the purposes among a certificate's *extensions*.

        :raises PolicyViolation: one of them does not.
        """
        check_purposes(self.certificates, extensions)

    def permits(self, subject: Name, extensions: Sequence[Extension]) -> bool:
        """Return whether :meth:`check` accepts a certificate with these names and extensions."""
        try:
            self.check(subject, extensions)
        except PolicyViolation:
            return False
        return True
