"""Vault's PKI engine: its requests and answers (https://openbao.org/api-docs/secret/pki/)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from pikachu.core.errors import PikachuError
from pikachu.core.model.certificates import format_serial
from pikachu.signers.vault.client import VaultClient, data_of
from pikachu.signers.vault.faults import VaultRefused, VaultUnreachable
from pikachu.x509.pem import certificates_pem
from pikachu.x509.pem_blocks import certificates_in

# Serial numbers in one answer of OpenBao; Vault always lists all.
_PAGE: Final = 1000
_BUILDING_SECONDS: Final = 10.0


class PKIMount:
    """One mount of the PKI engine; every method blocks and raises VaultFault.

    :param path: such as ``pki_ec``.
    :param page: the number of serial numbers in one answer.
    """

    def __init__(self, client: VaultClient, path: str, page: int = _PAGE) -> None:
        self._client = client
        self._page = page
        self.path = path

    def sign_verbatim(self, role: str, body: Mapping[str, object]) -> bytes:
        """Return the certificate for a CSR; the request is repeated only when Vault has certainly not received it.

        :param role: empty: none.
        :param body: ``csr`` and further fields.
        """
        path = f"{self.path}/sign-verbatim/{quote(role, safe='')}" if role else f"{self.path}/sign-verbatim"
        answer = self._client.write(path, body, repeatable=False, patience=_BUILDING_SECONDS)
        certificates = self._certificates(data_of(answer).get("certificate"))
        if not certificates:
            raise self._no_answer()
        return certificates[0]

    def chain(self) -> list[bytes]:
        """Return the certificates of the default issuer and of the CAs above it, as far as Vault has them."""
        data = data_of(self._client.read(f"{self.path}/cert/ca_chain"))
        certificates = self._certificates(data.get("ca_chain") or data.get("certificate"))
        if not certificates:
            raise VaultRefused(f"The mount {self.path} has no issuer. Import the issuing CA into it.", status=404)
        return certificates

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
