"""Vault's PKI engine: its requests and answers (https://openbao.org/api-docs/secret/pki/)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote

from pikachu.core.errors import ConfigError, PikachuError
from pikachu.core.model.certificates import format_serial
from pikachu.signers.vault.client import VaultClient, data_of
from pikachu.signers.vault.faults import VaultRefused, VaultUnreachable
from pikachu.x509.built import CLOCK_TOLERANCE
from pikachu.x509.keys import PrivateKey, private_key_pem
from pikachu.x509.pem import certificates_pem
from pikachu.x509.pem_blocks import certificates_in
from pikachu.x509.profile import Addresses

# Serial numbers in one answer of OpenBao; Vault always lists all.
_PAGE: Final = 1000
_BUILDING_SECONDS: Final = 10.0
# What an issuer has beside its addresses.
_KEPT: Final = (
    "issuer_name",
    "leaf_not_after_behavior",
    "manual_chain",
    "usage",
    "revocation_signature_algorithm",
    "delta_crl_distribution_points",
)
#: The longest validity of what a mount issues, which it needs in its settings and in those of its roles.
MAXIMUM_TTL: Final = "87600h"


@dataclass(frozen=True, slots=True)
class MountIssuer:
    """An issuer of a mount.

    :param id: its id, which is part of paths.
    :param has_key: whether the mount has its private key.
    :param has_addresses: whether its certificates have URLs of its own, instead of those of the mount.
    """

    id: str
    certificate: bytes
    has_key: bool
    has_addresses: bool


class PKIMount:
    """One mount of the PKI engine; every method blocks and raises VaultFault.

    :param path: such as ``pki_ec``.
    :param page: the number of serial numbers in one answer.
    """

    def __init__(self, client: VaultClient, path: str, page: int = _PAGE) -> None:
        self._client = client
        self._page = page
        self.path = path

    def sign_verbatim(self, issuer: str, role: str, body: Mapping[str, object]) -> bytes:
        """Return the certificate for a CSR; the request is repeated only when Vault has certainly not received it.

        :param issuer: the id of the issuer, which need not be the default one.
        :param role: empty: none.
        :param body: ``csr`` and further fields.
        """
        path = self._signing_path(issuer, role)
        answer = self._client.write(path, body, repeatable=False, patience=_BUILDING_SECONDS)
        certificates = self._certificates(data_of(answer).get("certificate"))
        if not certificates:
            raise self._no_answer()
        return certificates[0]

    def require_permission(self, issuer: str, roles: Sequence[str]) -> None:
        """Require that the token may sign with an issuer; nothing is said where it may not ask for that.

        :raises VaultRefused: it may not.
        """
        paths = [self._signing_path(issuer, role) for role in roles]
        try:
            permitted = data_of(self._client.write("sys/capabilities-self", {"paths": paths}))
        except VaultRefused:
            return
        for path in paths:
            capabilities = permitted.get(path)
            if isinstance(capabilities, list) and not {"update", "root"} & set(capabilities):
                raise VaultRefused(f"Vault denies access to {path}. Permit it in the policy of Pikachu's AppRole.")

    def _signing_path(self, issuer: str, role: str) -> str:
        path = f"{self.path}/issuer/{quote(issuer, safe='')}/sign-verbatim"
        return f"{path}/{quote(role, safe='')}" if role else path

    # --- issuers and roles --------------------------------------------------------------

    def issuers(self) -> list[MountIssuer]:
        """Return the issuers."""
        return [self.issuer(name) for name in self._client.list(f"{self.path}/issuers")]

    def issuer(self, name: str) -> MountIssuer:
        """Return one issuer."""
        data = self._issuer_data(name)
        certificates = self._certificates(data.get("certificate"))
        if not certificates:
            raise self._no_answer()
        has_addresses = any(data.get(key) for key in ("crl_distribution_points", "ocsp_servers"))
        return MountIssuer(name, certificates[0], bool(data.get("key_id")), has_addresses)

    def _issuer_data(self, name: str) -> dict[str, Any]:
        return data_of(self._client.read(f"{self.path}/issuer/{quote(name, safe='')}"))

    def import_key(self, private_key: PrivateKey) -> None:
        """Put a private key of this machine into the mount; one that is there stays as it is.

        :raises ConfigError: others could read it on its way, for the engine takes no wrapped keys as transit does.
        """
        if not self._client.takes_keys:
            raise ConfigError(
                "[VAULT] address: private keys are sent to the PKI engine only where TLS protects them; use https, and "
                "verify_ssl = true"
            )
        self._client.write(f"{self.path}/keys/import", {"pem_bundle": private_key_pem(private_key)})

    def import_certificates(self, certificates: Sequence[bytes]) -> None:
        """Make issuers of CA certificates; those that are there stay as they are."""
        self._client.write(f"{self.path}/issuers/import/cert", {"pem_bundle": certificates_pem(certificates)})

    def set_addresses(self, issuer: str, addresses: Addresses) -> None:
        """Set the URLs in the certificates of one issuer, instead of those of the mount."""
        # A value that is left out would become Vault's default.
        present = self._issuer_data(issuer)
        body = {
            **{key: present[key] for key in _KEPT if present.get(key)},
            "issuing_certificates": [addresses.ca_issuers],
            "crl_distribution_points": [addresses.crl],
            "ocsp_servers": [addresses.ocsp],
        }
        self._client.write(f"{self.path}/issuer/{quote(issuer, safe='')}", body)

    def role_fault(self, role: str) -> str | None:
        """Return why nothing can be issued by a role, or None."""
        name = f"{self.path}/roles/{quote(role, safe='')}"
        data = data_of(self._client.read(name))
        if data.get("no_store"):
            return (
                f"The role {name} has no_store = true, so a certificate whose answer is lost could not be found again. "
                "Set it to false."
            )
        if data.get("generate_lease"):
            return (
                f"The role {name} has generate_lease = true, so Vault would revoke certificates when the token of "
                "Pikachu's AppRole ends. Set it to false."
            )
        backdate = data.get("not_before_duration")
        if isinstance(backdate, int) and timedelta(seconds=backdate) > CLOCK_TOLERANCE:
            return (
                f"The role {name} has not_before_duration = {backdate}s; certificates that begin more than "
                f"{CLOCK_TOLERANCE.seconds // 60} minutes ago are not handed out. Set it to 30s."
            )
        return None

    # --- certificates -------------------------------------------------------------------

    def serials(self, after: int | None) -> Sequence[int]:
        """Return the next serial numbers after one, in the order of their texts."""
        start = "" if after is None else _text(after)
        query = f"?limit={self._page}" + (f"&after={quote(start)}" if start else "")
        names = sorted(name for name in self._client.list(f"{self.path}/certs{query}") if name > start)
        return self._numbers(names)

    def revoked_serials(self) -> frozenset[int]:
        """Return the serial numbers of revoked certificates."""
        return frozenset(self._numbers(self._client.list(f"{self.path}/certs/revoked")))

    def certificate(self, serial: int) -> bytes | None:
        """Return a certificate, or None when the mount does not keep it."""
        try:
            answer = self._client.read(f"{self.path}/cert/{_text(serial)}")
        except VaultRefused as fault:
            if fault.status == 404:
                return None
            raise
        return next(iter(self._certificates(data_of(answer).get("certificate"))), None)

    def revoke(self, certificate: bytes) -> bool:
        """Revoke a certificate, also one that the mount does not keep; False when its CA is not an issuer there."""
        try:
            self._client.write(f"{self.path}/revoke", {"certificate": certificates_pem([certificate])})
        except VaultRefused as fault:
            if fault.status == 400:
                return False
            raise
        return True

    # --- answers ------------------------------------------------------------------------

    def _certificates(self, text: Any) -> list[bytes]:
        try:
            return certificates_in(str(text or "").encode("utf-8"))
        except PikachuError:
            raise self._no_answer() from None

    def _numbers(self, names: Sequence[str]) -> list[int]:
        try:
            return [int(name.replace(":", "").replace("-", ""), 16) for name in names]
        except ValueError:
            raise self._no_answer() from None

    def _no_answer(self) -> VaultUnreachable:
        return VaultUnreachable("The answer is not Vault's. Check [VAULT] address.", path=self.path)


def _text(serial: int) -> str:
    """Return a serial number as Vault writes it: bytes in hex, separated by colons."""
    digits = format_serial(serial)
    digits = digits.zfill(len(digits) + len(digits) % 2)
    return ":".join(digits[index : index + 2] for index in range(0, len(digits), 2))
