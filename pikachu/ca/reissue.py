"""A new certificate for the key of an issuing CA, with the addresses of the root's services (CAR-1)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from pikachu.ca.bootstrap import RootFiles
from pikachu.ca.ca_requests import ca_request
from pikachu.ca.issuance import BACKDATE
from pikachu.ca.rotation import RotationFiles, Warn, locked
from pikachu.core.atomic_files import replace_files
from pikachu.core.errors import ConfigError
from pikachu.signers.ca_keys import CAKeys
from pikachu.signers.files import check_ca_certificate, find_issuer, load_certificates
from pikachu.signers.key import sign_now
from pikachu.x509.certificate import (
    AUTHORITY_KEY_IDENTIFIER,
    Certificate,
    Validity,
    assemble,
    end_of_validity,
    parse_certificate,
    tbs_certificate,
)
from pikachu.x509.keys import PrivateKey, describe_private_key
from pikachu.x509.pem import certificates_pem, pem
from pikachu.x509.profile import (
    AUTHORITY_INFORMATION_ACCESS,
    CRL_DISTRIBUTION_POINTS,
    Addresses,
    authority_key_identifier,
)
from pikachu.x509.signature import signature_algorithm

_REPLACED = frozenset({AUTHORITY_KEY_IDENTIFIER, AUTHORITY_INFORMATION_ACCESS, CRL_DISTRIBUTION_POINTS})


@dataclass(frozen=True, slots=True)
class Reissue:
    """Replaces the certificate of an issuing CA's current generation; key and subject stay.

    :param keys: loads the keys of the CA and its root.
    """

    files: RotationFiles
    root: RootFiles
    keys: CAKeys
    now: datetime
    warn: Warn

    def current(self) -> Certificate:
        """Return the present certificate.

        :raises ConfigError: when it can't be read.
        """
        return load_certificates(self.files.ca.certificate, self.files.ca.setting("CERT"))[0]

    def request(self) -> str:
        """Return the PKCS#10 of the key in PEM, for an offline root.

        :raises ConfigError: when the key can't be used.
        """
        return pem("CERTIFICATE REQUEST", ca_request(self._key(), self.current().subject_der))

    def certify(self, addresses: Addresses, days: int | None) -> Certificate:
        """Issue the certificate with the root's key on this server, and install it.

        All extensions stay but the addresses and the authorityKeyIdentifier.

        :param days: its validity; ``None`` uses that of the present certificate.
        :raises ConfigError: when a key can't be used.
        """
        if self.root.key is None or not self.root.key.exists():
            raise ConfigError(
                "[CA] ROOT_KEY_PATH: the root's key is not here; use --csr-only, have the root sign that request, and "
                "come back with --certificate"
            )
        root_key = self.keys.load(self.root.key_file(), self.warn)
        issuer = load_certificates(self.root.certificate, "[CA] ROOT_CERT_PATH")[0]
        current = self.current()
        algorithm = signature_algorithm(describe_private_key(root_key)).der
        days = days or max(1, (current.not_after - current.not_before).days)
        tbs = tbs_certificate(
            serial=secrets.randbits(159) | 1 << 158,
            algorithm=algorithm,
            issuer_der=issuer.subject_der,
            validity=Validity(
                max(self.now - BACKDATE, issuer.not_before), min(end_of_validity(self.now, days), issuer.not_after)
            ),
            subject_der=current.subject_der,
            spki_der=current.spki_der,
            extensions=(
                *(extension for extension in current.extensions if extension.oid not in _REPLACED),
                authority_key_identifier(issuer),
                *addresses.extensions(),
            ),
        )
        return self.install(parse_certificate(assemble(tbs, algorithm, sign_now(root_key, tbs))))

    def install(self, certificate: Certificate) -> Certificate:
        """Replace the present certificate, in the chain file too.

        :raises ConfigError: when it is not one of the same key and subject, issued by the same CA.
        """
        current = self.current()
        if (certificate.spki_der, certificate.subject_der) != (current.spki_der, current.subject_der):
            raise ConfigError("the certificate is not for the key and the subject of the present one")
        if certificate.key_identifier != current.key_identifier:
            raise ConfigError("the certificate has another subjectKeyIdentifier than the present one")
        chain = [] if self.files.ca.chain is None else load_certificates(self.files.ca.chain, "chain")
        parents = [*chain, *([] if self.files.ca.root is None else load_certificates(self.files.ca.root, "root"))]
        if find_issuer(certificate, parents) is None:
            raise ConfigError("no CA above the present certificate has issued this one")
        check_ca_certificate(certificate, self.now, "the certificate", self.warn)
        contents = [([self.files.ca.certificate], partial(_content, [certificate]))]
        if self.files.ca.chain is not None:
            replaced = [certificate if one.der == current.der else one for one in chain]
            contents.insert(0, ([self.files.ca.chain], partial(_content, replaced)))
        try:
            with locked(self.files):
                replace_files(*contents)
        except OSError as error:
            raise ConfigError(f"the certificate can't be replaced: {error.strerror}; fix the owner or mode") from None
        return certificate

    def _key(self) -> PrivateKey:
        return self.keys.load(self.files.ca.key_file, self.warn, self.current().spki_der)


def _content(certificates: Iterable[Certificate]) -> list[bytes]:
    return [certificates_pem(one.der for one in certificates).encode("ascii")]
