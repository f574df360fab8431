"""The CRLs of a broker's file: which are taken, and what the file contains (MQT-1).

A CRL is taken when a configured CA has signed it, it is complete, valid now, and newer than the one before.  Its number
never falls, also where the file was lost meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from pikachu.core.errors import MalformedRequest, PikachuError
from pikachu.x509.certificate import Certificate, names_match
from pikachu.x509.crl import CRLSummary, crl_entries, crl_pem_pieces, parse_crl_summary
from pikachu.x509.crl_verification import check_signed, decode_crls

# How far the CA's clock may be ahead.
_CLOCK_TOLERANCE: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class InstalledCRL:
    """A CRL whose signature was verified.

    :param der: the whole CRL.
    """

    number: int
    this_update: datetime
    next_update: datetime
    entries: int
    der: bytes = field(repr=False)

    def serials(self) -> set[str]:
        """Return the serial numbers of its entries, as ``format_serial`` writes them."""
        return {serial for serial, _ in crl_entries(self.der)}


class CRLSet:
    """The newest CRL of each CA.

    :param cas: the certificates of the issuing CAs, of all generations.
    :param numbers: the least CRL number of each key identifier, from an earlier run.
    """

    def __init__(self, cas: Iterable[Certificate], numbers: Mapping[bytes, int] | None = None) -> None:
        self.cas: dict[bytes, Certificate] = {ca.key_identifier: ca for ca in cas}
        self.installed: dict[bytes, InstalledCRL] = {}
        self._numbers = dict(numbers or {})

    def load(self, pem: bytes) -> list[str]:
        """Take over the CRLs of the broker's file, also expired ones; return why others are left out."""
        problems = []
        try:
            crls = decode_crls(pem)
        except MalformedRequest as error:
            return [error.public]
        for der in crls:
            try:
                key, crl = self._verify(der)
            except PikachuError as error:
                problems.append(error.public)
                continue
            present = self.installed.get(key)
            if present is None or present.number < crl.number:
                self.installed[key] = crl
                self._numbers[key] = max(self._numbers.get(key, 0), crl.number)
        return problems

    def offer(self, der: bytes, now: datetime, expected: bytes | None = None) -> tuple[bytes, bool]:
        """Take a new CRL; return its CA's key identifier, and whether it is newer than the installed one.

        :param expected: the key identifier of the CA whose topic it came on.
        :raises MalformedRequest: it is none, another CA's, not a complete one, or not valid now.
        :raises UnsupportedAlgorithm: its signature algorithm is not accepted.
        """
        key, crl = self._verify(der)
        if expected is not None and key != expected:
            raise MalformedRequest("the CRL is that of another CA than its topic says")
        if crl.next_update <= now:
            raise MalformedRequest(f"CRL {crl.number} expired on {crl.next_update:%Y-%m-%d %H:%M:%S} UTC")
        if crl.this_update > now + _CLOCK_TOLERANCE:
            raise MalformedRequest(
                f"CRL {crl.number} is not valid before {crl.this_update:%Y-%m-%d %H:%M:%S} UTC; check this machine's "
                "clock"
            )
        present = self.installed.get(key)
        least = self._numbers.get(key, -1)
        if crl.number < least or (present is not None and crl.number <= present.number):
            return key, False
        self.installed[key] = crl
        self._numbers[key] = crl.number
        return key, True

    def _verify(self, der: bytes) -> tuple[bytes, InstalledCRL]:
        summary = parse_crl_summary(der)
        named = [ca for ca in self.cas.values() if names_match(ca.subject_der, summary.issuer_der)]
        identifier = summary.authority_key_identifier
        candidates = [ca for ca in named if identifier is None or ca.key_identifier == identifier]
        if not candidates:
            raise MalformedRequest("the CRL is of no CA that is configured here")
        failure: PikachuError | None = None
        for ca in candidates:
            try:
                check_signed(der, ca)
            except PikachuError as error:
                failure = error
                continue
            return ca.key_identifier, _complete(summary, der)
        raise failure or MalformedRequest("the CRL is of no CA that is configured here")

    # --- the file ------------------------------------------------------------------------------

    def drop_ended(self, now: datetime) -> bool:
        """Drop the CRLs of CAs whose certificates have expired; return whether there were any."""
        ended = [key for key in self.installed if self.cas[key].not_after <= now]
        for key in ended:
            del self.installed[key]
        return bool(ended)

    def pem(self) -> Iterator[bytes]:
        """Yield the content of the broker's file."""
        for key in self.cas:
            if key in self.installed:
                yield from crl_pem_pieces(self.installed[key].der)

    @property
    def numbers(self) -> Mapping[bytes, int]:
        """The greatest CRL number of each CA, for the next run."""
        return self._numbers


def _complete(summary: CRLSummary, der: bytes) -> InstalledCRL:
    """Return a CRL that has all of its issuer's revocations.

    :raises MalformedRequest: it is a delta or a partial one, or lacks number or nextUpdate.
    """
    if summary.critical_extensions:
        raise MalformedRequest("the CRL is a delta, or has a part of the revocations only")
    if summary.number is None or summary.next_update is None:
        raise MalformedRequest("the CRL has no number, or no end")
    return InstalledCRL(summary.number, summary.this_update, summary.next_update, summary.entries, der)
