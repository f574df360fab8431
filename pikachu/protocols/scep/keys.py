"""The keys that sign and decrypt SCEP messages: those of the issuing CA, or of its RA certificate (SCEP-2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.ca.service_certificates import SCEP_RA, Credential, ServiceCertificates
from pikachu.cms.identity import CertificateIdentity, identify
from pikachu.core.errors import NotFound
from pikachu.core.interfaces import IDecrypter, ISigner
from pikachu.x509.certificate import parse_certificate


class RAMode(StrEnum):
    """``[SCEP] ra``."""

    AUTO = "auto"
    NEVER = "never"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class MessageKeys:
    """A certificate for which clients encrypt, with the signer and decrypter for its key.

    :param is_ra: whether it is an RA certificate, not that of the issuing CA.
    """

    certificate: CertificateIdentity
    signer: ISigner
    decrypter: IDecrypter
    not_before: datetime
    not_after: datetime
    is_ra: bool

    def inside(self, now: datetime) -> datetime:
        """Return *now*, or the nearest time within the certificate's validity, since clients check the signing time."""
        return min(max(now, self.not_before), self.not_after)


def _message_keys(certificate: bytes, signer: ISigner, decrypter: IDecrypter, is_ra: bool) -> MessageKeys:
    parsed = parse_certificate(certificate)
    return MessageKeys(identify(certificate), signer, decrypter, parsed.not_before, parsed.not_after, is_ra)


def _ca_keys(issuer: IssuingCA, decrypter: IDecrypter) -> MessageKeys:
    return _message_keys(issuer.certificate.der, issuer.signer, decrypter, False)


def _ra_keys(credential: Credential) -> MessageKeys:
    assert credential.decrypter is not None  # noqa: S101 - an RA's key is RSA
    return _message_keys(credential.signer.certificate, credential.signer, credential.decrypter, True)


class MessageKeyring:
    """The message keys of all issuing CAs' SCEP paths.

    Former RA certificates and former generations of a CA are included while they are valid, since clients may have
    cached them.
    """

    def __init__(self, issuers: IssuingCAs, credentials: ServiceCertificates, mode: RAMode) -> None:
        self._issuers = issuers
        self._credentials = credentials
        self._mode = mode
        self._known: dict[bytes, MessageKeys] = {}
        self._recipients: dict[tuple[bytes, ...], list[MessageKeys]] = {}

    async def current(self, issuer: IssuingCA) -> MessageKeys:
        """Return the keys of the certificate in GetCACert.

        Fails with NotFound when an RA is needed but ``[SCEP] ra`` is never, and like
        :meth:`ServiceCertificates.get`.
        """
        if self._uses_own_key(issuer) and issuer.decrypter is not None:
            return self._cached(issuer.certificate.der) or self._cache(_ca_keys(issuer, issuer.decrypter))
        if self._mode is RAMode.NEVER:
            raise NotFound(f"the key of the CA {issuer.name} can't decrypt, and [SCEP] ra is never: no SCEP here")
        credential = self._credentials.try_get(issuer, SCEP_RA) or await self._credentials.get(issuer, SCEP_RA)
        return self._cached(credential.signer.certificate) or self._cache(_ra_keys(credential))

    def _uses_own_key(self, issuer: IssuingCA) -> bool:
        return issuer.decrypter is not None and self._mode is not RAMode.ALWAYS

    def _cached(self, certificate: bytes) -> MessageKeys | None:
        return self._known.get(certificate)

    def _cache(self, keys: MessageKeys) -> MessageKeys:
        self._known[keys.certificate.certificate] = keys
        return keys

    async def recipients(self, issuer: IssuingCA, current: MessageKeys, now: datetime) -> Sequence[MessageKeys]:
        """Return all keys that can decrypt messages, the current ones first."""
        generations = [issuer, *(one for one in self._issuers.all() if one.name == issuer.name and one is not issuer)]
        key = (current.certificate.certificate, *(one.certificate.der for one in generations))
        recipients = self._recipients.get(key)
        if recipients is None:
            recipients = [current]
            for generation in generations:
                if self._uses_own_key(generation) and generation.decrypter is not None:
                    recipients.append(_ca_keys(generation, generation.decrypter))
                recipients += [_ra_keys(one) for one in await self._credentials.former(generation, SCEP_RA)]
            # Entries for other certificates are outdated: one of them was renewed.
            self._recipients = {
                other_key: keys for other_key, keys in self._recipients.items() if other_key[1:] != key[1:]
            }
            self._recipients[key] = recipients
        return [current, *(keys for keys in recipients[1:] if keys.not_after >= now)]
