"""Whose keys sign and decrypt on a SCEP path: the issuing CA's own, or those of its RA certificate (SCEP-2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pikachu.ca.issuance import IssuingCA, IssuingCAs
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
    """A certificate that clients encrypt for, and what works with its key.

    :param is_ra: it is an RA certificate, not the issuing CA's own.
    """

    certificate: CertificateIdentity
    signer: ISigner
    decrypter: IDecrypter
    not_before: datetime
    not_after: datetime
    is_ra: bool

    def inside(self, now: datetime) -> datetime:
        """*now*, or the nearest time at which the certificate is valid: clients check."""
        return min(max(now, self.not_before), self.not_after)


def _of(certificate: bytes, signer: ISigner, decrypter: IDecrypter, is_ra: bool) -> MessageKeys:
    parsed = parse_certificate(certificate)
    return MessageKeys(identify(certificate), signer, decrypter, parsed.not_before, parsed.not_after, is_ra)


def _of_ca(issuer: IssuingCA, decrypter: IDecrypter) -> MessageKeys:
    return _of(issuer.certificate.der, issuer.signer, decrypter, False)


def _of_ra(credential: Credential) -> MessageKeys:
    assert credential.decrypter is not None  # noqa: S101 - an RA's key is RSA
    return _of(credential.signer.certificate, credential.signer, credential.decrypter, True)


class MessageKeyring:
    """Gives the keys of an issuing CA's SCEP paths.

    Former RA certificates and the former generations of a CA stay in it while they are valid: a client may have
    asked for the certificates a while ago.
    """

    def __init__(self, issuers: IssuingCAs, credentials: ServiceCertificates, mode: RAMode) -> None:
        self._issuers = issuers
        self._credentials = credentials
        self._mode = mode
        self._known: dict[bytes, MessageKeys] = {}
        self._recipients: dict[tuple[bytes, ...], list[MessageKeys]] = {}

    async def current(self, issuer: IssuingCA) -> MessageKeys:
        """What GetCACert names.

        Fails with NotFound where only an RA could do it and there may be none, and like
        :meth:`ServiceCertificates.get`.
        """
        if self._acts_itself(issuer) and issuer.decrypter is not None:
            return self._remembered(issuer.certificate.der) or self._remember(_of_ca(issuer, issuer.decrypter))
        if self._mode is RAMode.NEVER:
            raise NotFound(f"the key of the CA {issuer.name} can't decrypt, and [SCEP] ra is never: no SCEP here")
        credential = self._credentials.try_get(issuer, SCEP_RA) or await self._credentials.get(issuer, SCEP_RA)
        return self._remembered(credential.signer.certificate) or self._remember(_of_ra(credential))

    def _acts_itself(self, issuer: IssuingCA) -> bool:
        return issuer.decrypter is not None and self._mode is not RAMode.ALWAYS

    def _remembered(self, certificate: bytes) -> MessageKeys | None:
        return self._known.get(certificate)

    def _remember(self, keys: MessageKeys) -> MessageKeys:
        self._known[keys.certificate.certificate] = keys
        return keys

    async def recipients(self, issuer: IssuingCA, current: MessageKeys, now: datetime) -> Sequence[MessageKeys]:
        """All whose messages can be opened, the current one first."""
        generations = [issuer, *(one for one in self._issuers.all() if one.name == issuer.name and one is not issuer)]
        key = (current.certificate.certificate, *(one.certificate.der for one in generations))
        found = self._recipients.get(key)
        if found is None:
            found = [current]
            for generation in generations:
                if self._acts_itself(generation) and generation.decrypter is not None:
                    found.append(_of_ca(generation, generation.decrypter))
                found += [_of_ra(one) for one in await self._credentials.former(generation, SCEP_RA)]
            # What was known for other certificates is outdated: one of them was renewed.
            self._recipients = {kept: keys for kept, keys in self._recipients.items() if kept[1:] != key[1:]}
            self._recipients[key] = found
        return [current, *(keys for keys in found[1:] if keys.not_after >= now)]
