"""Certificates that Vault's PKI engine builds from CSRs (VLT-1, docs/adr/0030).

The engine takes subject, key and extensions of the CSR; what a policy adds can only be keyUsage and extendedKeyUsage.
What the engine could not make as intended is refused before it signs, and what it made is compared again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from twisted.internet.defer import Deferred

from pikachu.core.errors import PikachuError, PolicyViolation, SignerUnavailable
from pikachu.core.interfaces import IWorkerPool, ToBeSigned
from pikachu.core.model.certificates import Method
from pikachu.signers.key import KeySigner
from pikachu.signers.vault.client import VaultClient
from pikachu.signers.vault.faults import VaultFault, VaultRefused, VaultUnreachable
from pikachu.signers.vault.pki_mount import PKIMount
from pikachu.x509.built import CHOSEN, extension_differences, parse_intended
from pikachu.x509.certificate import EXTENDED_KEY_USAGE, KEY_USAGE, Certificate, names_match, parse_certificate
from pikachu.x509.csr import CertificationRequest, parse_csr
from pikachu.x509.keys import PrivateKey
from pikachu.x509.pem import pem
from pikachu.x509.signature import signature_algorithm
from pikachu.x509.spki import describe_spki

# Go's names of the bits of keyUsage, in order (RFC 5280 section 4.2.1.3).
_USAGES: Final = (
    "DigitalSignature",
    "ContentCommitment",
    "KeyEncipherment",
    "DataEncipherment",
    "KeyAgreement",
    "CertSign",
    "CRLSign",
    "EncipherOnly",
    "DecipherOnly",
)


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles of the PKI engine by protocol.

    :param others: for everything without a role of its own; empty: none.
    """

    scep: str = ""
    est: str = ""
    others: str = ""

    def of(self, method: Method) -> str:
        """Return the role for an enrollment."""
        own = {Method.SCEP: self.scep, Method.EST: self.est}.get(method, "")
        return own or self.others


class PKIEngine:
    """See :class:`pikachu.core.engine_interfaces.ICertificateEngine`.

    :param path: the mount.
    :param certificate: the DER certificate of the issuing CA, which has to be the mount's default issuer.
    :param pool: the threads in which Vault is called.
    """

    def __init__(self, client: VaultClient, path: str, *, roles: Roles, certificate: bytes, pool: IWorkerPool) -> None:
        self._mount = PKIMount(client, path)
        self._roles = roles
        self._certificate = parse_certificate(certificate)
        self._algorithm = signature_algorithm(describe_spki(self._certificate.spki_der)).der
        self._pool = pool
        self._is_checked = False

    def builds(self, to_be_signed: ToBeSigned) -> bool:
        """Return whether there is a CSR by the key to certify."""
        try:
            key = parse_csr(to_be_signed.csr).spki_der if to_be_signed.csr else None
            return key == self._intended(to_be_signed).spki_der
        except PikachuError:
            return False

    def issue(self, to_be_signed: ToBeSigned) -> Deferred[bytes]:
        """Have the engine build and sign the certificate."""
        return self._pool.run(self._issue, to_be_signed)

    def serials(self, after: int | None) -> Deferred[Sequence[int]]:
        """Return the next page of serial numbers."""
        return self._pool.run(self._mount.serials, after)

    def certificate(self, serial: int) -> Deferred[bytes | None]:
        """Return a certificate of the mount, or None."""
        return self._pool.run(self._mount.certificate, serial)

    def revoked_serials(self) -> Deferred[frozenset[int]]:
        """Return what the mount has as revoked."""
        return self._pool.run(self._mount.revoked_serials)

    def revoke(self, certificate: bytes) -> Deferred[bool]:
        """Revoke a certificate in the mount."""
        return self._pool.run(self._mount.revoke, certificate)

    def check(self) -> Deferred[None]:
        """Compare the default issuer of the mount with the issuing CA."""
        return self._pool.run(self._check)

    # --- in the pool --------------------------------------------------------------------

    def _check(self) -> None:
        try:
            self._compare()
        except VaultFault as fault:
            raise SignerUnavailable(fault.reason) from None

    def _compare(self) -> None:
        """Compare the default issuer of the mount with the issuing CA.

        :raises SignerUnavailable: they differ, or there is no answer.
        """
        self._is_checked = False
        issuer = parse_certificate(self._mount.chain()[0])
        ours = self._certificate
        if issuer.spki_der != ours.spki_der or not names_match(issuer.subject_der, ours.subject_der):
            raise VaultRefused(
                f"The default issuer of the mount {self._mount.path} is not the issuing CA of [CA] SUBCA_CERT_PATH. "
                "Import that CA into the mount and make it the default issuer, or name another mount."
            )
        self._is_checked = True

    def _issue(self, to_be_signed: ToBeSigned) -> bytes:
        csr, intended = parse_csr(to_be_signed.csr), self._intended(to_be_signed)
        body = {
            "csr": pem("CERTIFICATE REQUEST", csr.der),
            "not_after": _moment(intended.not_after),
            **_usages(csr, intended),
        }
        if not self._is_checked:
            try:
                self._compare()
            except VaultUnreachable as fault:
                fault.may_have_signed = False
                raise
        try:
            return self._mount.sign_verbatim(self._roles.of(to_be_signed.method), body)
        except VaultRefused:
            # The mount may have been replaced.
            self._is_checked = False
            raise

    def _intended(self, to_be_signed: ToBeSigned) -> Certificate:
        return parse_intended(to_be_signed.tbs, self._algorithm)


@dataclass(frozen=True, slots=True)
class PKIEngines:
    """The mounts of the PKI engine by the names of issuing CAs.

    :param pool: the threads in which Vault is called.
    """

    client: VaultClient
    mounts: Mapping[str, str]
    roles: Roles
    pool: IWorkerPool

    def engine(self, name: str, certificate: bytes) -> PKIEngine | None:
        """Return the engine of one generation, or None when that issuing CA has no mount."""
        mount = self.mounts.get(name)
        if mount is None:
            return None
        return PKIEngine(self.client, mount, roles=self.roles, certificate=certificate, pool=self.pool)


class PKISigner(KeySigner):
    """An issuing key whose subscribers' certificates are made by the PKI engine.

    CRLs, OCSP answers and certificates without a CSR of their key are signed with the same key elsewhere.

    :param engine: builds the certificates.
    """

    def __init__(
        self,
        private_key: PrivateKey,
        certificate: bytes,
        chain: tuple[bytes, ...],
        pool: IWorkerPool,
        engine: PKIEngine,
    ) -> None:
        super().__init__(private_key, certificate, chain, pool)
        self._engine = engine

    def sign_certificate(self, to_be_signed: ToBeSigned) -> Deferred[bytes]:
        """Return the engine's certificate, or one with exactly the given bytes where the engine can't build it."""
        if self._engine.builds(to_be_signed):
            return self._engine.issue(to_be_signed)
        return super().sign_certificate(to_be_signed)


def _usages(csr: CertificationRequest, intended: Certificate) -> Mapping[str, object]:
    """Return the parameters for usages that the CSR does not ask for.

    :raises PolicyViolation: the engine can't make the certificate as intended.
    """
    given = {extension.oid: extension.value for extension in intended.extensions}
    usage, purposes = intended.extension(KEY_USAGE), intended.extension(EXTENDED_KEY_USAGE)
    asked = {extension.oid for extension in csr.extensions}
    added = [one for one in (usage, purposes) if one is not None and one.oid not in asked]
    lacking = extension_differences([*csr.extensions, *added], intended.extensions)
    # The engine would put the requester's own addresses and identifiers into the certificate.
    lacking += [
        f"the CSR chooses the {name}"
        for oid, name in CHOSEN.items()
        if any(one.oid == oid and one.value != given.get(oid) for one in csr.extensions)
    ]
    if lacking:
        raise PolicyViolation(
            f"The CA's PKI engine can't issue this certificate, since it copies the extensions of the CSR: "
            f"{', '.join(lacking)}. Make a CSR that asks for what the policy gives, or change the policy."
        )
    return {
        "key_usage": [_USAGES[bit] for bit in sorted(intended.key_usage or ())] if usage in added else [],
        "ext_key_usage": [],
        "ext_key_usage_oids": sorted(intended.extended_key_usage or ()) if purposes in added else [],
    }


def _moment(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
