"""Certificates that Vault's PKI engine builds from CSRs (VLT-1, docs/adr/0030).

The engine takes subject, key and extensions of the CSR; what a policy adds can only be keyUsage and extendedKeyUsage.
What the engine could not make as intended is refused before it signs, and what it made is compared again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from twisted.internet.defer import Deferred, succeed

from pikachu.core.errors import PikachuError, PolicyViolation, SignerUnavailable
from pikachu.core.interfaces import IWorkerPool, ToBeSigned
from pikachu.core.model.certificates import Method
from pikachu.signers.key import KeySigner
from pikachu.signers.remote_keys import RemoteKey
from pikachu.signers.vault.client import VaultClient
from pikachu.signers.vault.faults import VaultFault, VaultRefused, VaultUnreachable
from pikachu.signers.vault.pki_mount import MountIssuer, PKIMount
from pikachu.x509.built import CHOSEN, extension_differences, parse_intended
from pikachu.x509.certificate import EXTENDED_KEY_USAGE, KEY_USAGE, Certificate, names_match, parse_certificate
from pikachu.x509.csr import CertificationRequest, parse_csr
from pikachu.x509.keys import PrivateKey
from pikachu.x509.pem import pem
from pikachu.x509.profile import Addresses
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

    def used(self) -> list[str]:
        """Return the roles in use, each once; an empty one where something is issued without a role."""
        return sorted({self.scep or self.others, self.est or self.others, self.others})

    def names(self) -> list[str]:
        """Return the roles that Vault has to have."""
        return [role for role in self.used() if role]


class PKIEngine:
    """See :class:`pikachu.core.engine_interfaces.ICertificateEngine`.

    :param path: the mount.
    :param certificate: the DER certificate of one generation of the issuing CA, which has to be an issuer of the mount.
    :param pool: the threads in which Vault is called.
    """

    def __init__(self, client: VaultClient, path: str, *, roles: Roles, certificate: bytes, pool: IWorkerPool) -> None:
        self._mount = PKIMount(client, path)
        self._roles = roles
        self._certificate = parse_certificate(certificate)
        self._algorithm = signature_algorithm(describe_spki(self._certificate.spki_der)).der
        self._pool = pool
        self._issuer: str | None = None

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
        """Make sure that the mount has the issuing CA, and that the roles lose no certificate."""
        return self._pool.run(self._check)

    # --- in the pool --------------------------------------------------------------------

    def _check(self) -> None:
        try:
            self._find_issuer()
        except VaultFault as fault:
            raise SignerUnavailable(fault.reason) from None

    def _find_issuer(self) -> str:
        """Return the issuer of the mount that is the issuing CA, with roles that lose no certificate.

        :raises VaultFault: there is none, or there is no answer.
        """
        self._issuer = None
        issuer = find_issuer(self._mount, self._certificate)
        if issuer is None or not issuer.has_key:
            raise VaultRefused(
                f"The mount {self._mount.path} has {'no key' if issuer else 'no issuer'} for the certificate of the "
                f"issuing CA {self._certificate.key_identifier.hex()}. Import that CA into the mount with `pikachu "
                "vault import`, or name another mount."
            )
        for role in self._roles.names():
            fault = self._mount.role_fault(role)
            if fault is not None:
                raise VaultRefused(fault)
        self._mount.require_permission(issuer.id, self._roles.used())
        self._issuer = issuer.id
        return issuer.id

    def _issue(self, to_be_signed: ToBeSigned) -> bytes:
        csr, intended = parse_csr(to_be_signed.csr), self._intended(to_be_signed)
        body = {
            "csr": pem("CERTIFICATE REQUEST", csr.der),
            "not_after": _moment(intended.not_after),
            **_usages(csr, intended),
        }
        issuer = self._issuer
        if issuer is None:
            try:
                issuer = self._find_issuer()
            except VaultUnreachable as fault:
                fault.may_have_signed = False
                raise
        try:
            return self._mount.sign_verbatim(issuer, self._roles.of(to_be_signed.method), body)
        except VaultFault:
            # The mount or the issuer may have been replaced; Vault answers 500 for an issuer that it does not have.
            self._issuer = None
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

    def install(
        self, name: str, private_key: PrivateKey, chain: Sequence[bytes], addresses: Addresses | None
    ) -> Deferred[bool]:
        """Make one generation of an issuing CA an issuer of its mount; return whether something was changed.

        :param private_key: goes into the mount too, unless it is kept elsewhere.
        :param chain: DER certificates, that of the issuing CA first.
        :param addresses: the URLs in its certificates; ``None`` leaves those of the mount.
        """
        mount = self.mounts.get(name)
        if mount is None:
            return succeed(False)
        return self.pool.run(install_issuer, PKIMount(self.client, mount), private_key, chain, addresses)


def find_issuer(mount: PKIMount, certificate: Certificate) -> MountIssuer | None:
    """Return the issuer with the key and name of a CA; the one with the same certificate where there are several.

    :raises VaultFault: there is no answer.
    """
    alike = []
    for issuer in mount.issuers():
        try:
            other = parse_certificate(issuer.certificate)
        except PikachuError:
            # It is no CA of ours.
            continue
        if other.spki_der == certificate.spki_der and names_match(other.subject_der, certificate.subject_der):
            alike.append(issuer)
    return max(alike, key=lambda one: (one.certificate == certificate.der, one.has_key), default=None)


def install_issuer(
    mount: PKIMount, private_key: PrivateKey, chain: Sequence[bytes], addresses: Addresses | None
) -> bool:
    """Make a CA an issuer of a mount; see :meth:`PKIEngines.install`.

    :raises VaultFault: there is no answer, or the mount does not have the key.
    """
    certificate = parse_certificate(chain[0])
    present = find_issuer(mount, certificate)
    is_there = present is not None and present.has_key and present.certificate == certificate.der
    if present is not None and is_there and (addresses is None or present.has_addresses):
        return False
    if not isinstance(private_key, RemoteKey):
        mount.import_key(private_key)
    mount.import_certificates(chain)
    issuer = find_issuer(mount, certificate)
    if issuer is None or not issuer.has_key:
        raise VaultRefused(
            f"The mount {mount.path} does not have the key of the certificate {certificate.key_identifier.hex()}. Only "
            "keys that both engines have can be used; delete the files whose names end in .next, and rotate again."
        )
    if addresses is not None and not issuer.has_addresses:
        mount.set_addresses(issuer.id, addresses)
    return True


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
