"""The body of a request for a certificate: a CSR, or names and a key."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from pikachu.core.constraints import Length, OneOf, Variant, Variants
from pikachu.core.model.policies import DAYS
from pikachu.inventory.keys import CHOICES, MAXIMUM_NAME, key_name
from pikachu.inventory.new_certificates import CertificateNames, CertificateOrder, GeneratedKey
from pikachu.web.api.approvals import Approval
from pikachu.web.api.examples import CSR
from pikachu.x509.csr import decode_csr_input

KEY_FAMILY: Final = OneOf(tuple(CHOICES))
KEY_SIZE: Final = OneOf(tuple(int(size) for size in CHOICES["RSA"]))
KEY_CURVE: Final = OneOf(CHOICES["EC"])
KEY_ALGORITHM: Final = OneOf(CHOICES["PQC"])
_NAME: Final = Length(0, MAXIMUM_NAME)


@dataclass(frozen=True, slots=True)
class CertificateKey:
    """``id`` of one of your stored keys; or a new key, as in POST /keys, whose ``name`` defaults to that of the
    certificate.
    """

    VARIANTS: ClassVar = Variants(
        (
            Variant(("id",)),
            Variant(("type",), ("size", "name"), {"type": "RSA"}),
            Variant(("type",), ("curve", "name"), {"type": "EC"}),
            Variant(("type",), ("name",), {"type": "Ed25519"}),
            Variant(("type",), ("algorithm", "name"), {"type": "PQC"}),
            Variant(("size",), ("name",)),
            Variant(("curve",), ("name",)),
            Variant(("algorithm",), ("name",)),
        )
    )

    id: int | None = None
    type: Annotated[str, KEY_FAMILY] | None = None
    size: Annotated[int, KEY_SIZE] | None = None
    curve: Annotated[str, KEY_CURVE] | None = None
    algorithm: Annotated[str, KEY_ALGORITHM] | None = None
    name: Annotated[str, _NAME] | None = None

    @property
    def choice(self) -> int | GeneratedKey:
        """The id of the stored key, or the key to generate."""
        if self.id is not None:
            return self.id
        choice = str(self.size or self.curve or self.algorithm or "")
        return GeneratedKey(key_name(self.type or "", choice), (self.name or "").strip())


@dataclass(frozen=True, slots=True)
class SignRequest:
    """Either a CSR: ``csr`` (PEM, or Base64 of DER), or ``csr_id`` of a stored one; or ``key`` with ``subject``
    (RFC 4514), ``sans`` (``DNS:…``, ``IP:…``, ``email:…`` or ``URI:…``), or both.

    ``policy`` (``System`` and ``None`` are built in) and the issuing CA are named.
    """

    VARIANTS: ClassVar = Variants((Variant(("csr",)), Variant(("csr_id",)), Variant(("key",), ("subject", "sans"))))
    EXAMPLE: ClassVar[dict[str, Any]] = {"csr": CSR}

    csr: str | None = None
    csr_id: int | None = None
    subject: str | None = None
    sans: tuple[str, ...] | None = None
    key: CertificateKey | None = None
    policy: str | None = None
    validity_days: Annotated[int, DAYS] | None = None
    issuer: str | None = None

    @property
    def order(self) -> CertificateOrder | None:
        """The order of a certificate for names and a key; ``None``: there is a CSR.

        :raises MalformedRequest: for no names, and for wrong ones with a message for each.
        """
        if self.key is None:
            return None
        names = CertificateNames.of(self.subject or "", self.sans or ())
        return CertificateOrder(names, self.key.choice, self.policy, self.validity_days, self.issuer)

    @property
    def submitted_csr(self) -> bytes | int:
        """The submitted CSR as DER, or the id of a stored one.

        :raises MalformedRequest: the text is neither PEM nor Base64.
        :raises TooLarge: it exceeds the maximum size of a CSR.
        """
        return decode_csr_input((self.csr or "").encode()) if self.csr_id is None else self.csr_id


class RenewedKey(StrEnum):
    """``new`` creates a key of the same type, ``same`` uses the certificate's own key, which must be stored here."""

    NEW = "new"
    SAME = "same"


@dataclass(frozen=True, slots=True)
class RenewalRequest:
    """Names and policy are those of the certificate.  ``key`` is ``new``, or ``same`` for the key of the certificate,
    when that is stored here and the policy allows it.
    """

    EXAMPLE: ClassVar[dict[str, Any]] = {"key": "new"}

    key: RenewedKey = RenewedKey.NEW
    validity_days: Annotated[int, DAYS] | None = None


@dataclass(frozen=True, slots=True)
class PendingCertificate(Approval):
    """A certificate that awaits approval; ``key_id`` is the id of its stored key."""

    key_id: int | None
