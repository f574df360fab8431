"""``/keys``: stored private keys (KEY-1 to KEY-5), and PKCS#12 files (CRT-4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from pikachu.core.constraints import Length, Variant, Variants
from pikachu.core.model.account_objects import StoredKey
from pikachu.core.model.people import Scope
from pikachu.inventory.certificates import CertificateQueries, OwnerNames
from pikachu.inventory.keys import CHOICES, MAXIMUM_NAME, Keys, key_name, parts_of_type
from pikachu.web.api.bodies import extended
from pikachu.web.api.certificate_requests import KEY_ALGORITHM, KEY_CURVE, KEY_FAMILY, KEY_SIZE
from pikachu.web.api.routes import NO_CONTENT, Access, Answer, Call, Operation, Routes, created, listed
from pikachu.web.certificate_files import certificate_filename
from pikachu.x509.keys import MAXIMUM_PASSPHRASE
from pikachu.x509.pem import pem
from pikachu.x509.pem_blocks import decode_base64

_PASSPHRASE: Final = Length(1, MAXIMUM_PASSPHRASE)


@dataclass(frozen=True, slots=True)
class NewKey:
    """``type`` is RSA, EC, Ed25519 or PQC, with the matching one of ``size``, ``curve``, ``algorithm``; each of these
    implies its type.

    The defaults are RSA of 2048 bits, prime256v1 and mldsa44.  An existing key is imported instead by ``pem``, a text
    that includes a private key, or ``pkcs12``, a file in base64; ``passphrase`` opens it, and ``alias`` (friendlyName)
    selects one of several keys.
    """

    VARIANTS: ClassVar = Variants(
        (
            Variant(("type",), ("size",), {"type": "RSA"}),
            Variant(("type",), ("curve",), {"type": "EC"}),
            Variant(("type",), (), {"type": "Ed25519"}),
            Variant(("type",), ("algorithm",), {"type": "PQC"}),
            Variant(("size",)),
            Variant(("curve",)),
            Variant(("algorithm",)),
            Variant(("pem",), ("passphrase", "alias")),
            Variant(("pkcs12",), ("passphrase", "alias")),
        )
    )
    EXAMPLE: ClassVar[dict[str, Any]] = {"name": "pump-001", "type": "EC", "curve": "prime256v1"}

    name: Annotated[str, Length(1, MAXIMUM_NAME)]
    type: Annotated[str, KEY_FAMILY] | None = None
    size: Annotated[int, KEY_SIZE] | None = None
    curve: Annotated[str, KEY_CURVE] | None = None
    algorithm: Annotated[str, KEY_ALGORITHM] | None = None
    pem: str | None = None
    pkcs12: str | None = None
    passphrase: str | None = None
    alias: str | None = None


class PFXForm(StrEnum):
    """``modern`` uses AES-256 and SHA-256, ``compatible`` triple DES and SHA-1."""

    MODERN = "modern"
    COMPATIBLE = "compatible"


@dataclass(frozen=True, slots=True)
class KeySummary:
    """A stored key, with the one of size, curve and algorithm that its type has."""

    id: int
    name: str
    key: str
    type: Annotated[str, KEY_FAMILY]
    size: int | None
    curve: Annotated[str, KEY_CURVE] | None
    algorithm: Annotated[str, KEY_ALGORITHM] | None
    owner: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class KeyDocument(KeySummary):
    """A stored key with its public key, and the number of stored CSRs and certificates that use it."""

    public_pem: str
    requests: int
    certificates: int


@dataclass(frozen=True, slots=True)
class Protection:
    """The passphrase that encrypts the private key; without one it is returned unencrypted."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"passphrase": "correct horse battery staple"}

    passphrase: Annotated[str, _PASSPHRASE] | None = None


@dataclass(frozen=True, slots=True)
class PrivateKeyDocument:
    """A private key: PKCS#8 in PEM."""

    id: int
    encrypted: bool
    private_pem: str


@dataclass(frozen=True, slots=True)
class PFXProtection:
    """The passphrase of the PKCS#12 file, and its form: ``compatible`` for old Windows, macOS and Android."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"passphrase": "correct horse battery staple", "form": "modern"}

    passphrase: Annotated[str, _PASSPHRASE]
    form: PFXForm = PFXForm.MODERN


class KeysAPI(Routes):
    """Stored keys."""

    def __init__(self, *, keys: Keys, inventory: CertificateQueries) -> None:
        self._keys: Keys = keys
        self._inventory = inventory

    @Operation(
        "POST",
        "/keys",
        scope=Scope.ENROLL,
        summary="Make a private key, or import one, and keep it here, encrypted",
        body=NewKey,
        answer=KeyDocument,
        statuses=(201,),
    )
    async def create(self, call: Call) -> Answer:
        """Generate or import a key (KEY-1)."""
        body = call.take(NewKey)
        file = _key_file(body)
        if file is None:
            choice = str(body.size or body.curve or body.algorithm or "")
            key = await self._keys.generate(call.principal, body.name, key_name(body.type or "", choice))
        else:
            key = await self._keys.import_key(call.principal, body.name, file, body.passphrase, body.alias or "")
        names = await self._inventory.owner_names(call.principal, [key.owner_id])
        document = extended(KeyDocument, _summary(key, names), public_pem=_public(key), requests=0, certificates=0)
        return created(f"/keys/{key.id}", document)

    @Operation(
        "GET",
        "/keys",
        scope=Scope.READ,
        summary="Stored keys: one's own, or for admins all",
        answer=KeySummary,
        listed=True,
        filters={"type": "type"},
        choices={"type": tuple(CHOICES)},
        owner="owner_id",
        sorts=("id", "created_at", "name", "type", "user"),
    )
    async def list(self, call: Call) -> Answer:
        """List stored keys (KEY-2)."""
        page = await self._keys.list(call.principal, call.list_query())
        names = await self._inventory.owner_names(call.principal, [one.owner_id for one in page.items])
        return listed(page, lambda one: _summary(one, names))

    @Operation(
        "GET", "/keys/<id>", scope=Scope.READ, summary="One stored key, without its private half", answer=KeyDocument
    )
    async def get(self, call: Call) -> Answer:
        """Return a key and its use (KEY-3)."""
        key = await self._keys.get(call.principal, call.id)
        use = await self._keys.use(call.principal, call.id)
        names = await self._inventory.owner_names(call.principal, [key.owner_id])
        extra = {"public_pem": _public(key), "requests": use.requests, "certificates": use.certificates}
        return Answer(200, extended(KeyDocument, _summary(key, names), **extra))

    @Operation(
        "POST",
        "/keys/<id>/private-key",
        scope=Access.WHOLE_ACCOUNT,
        summary="The private key as PKCS#8 in PEM, encrypted when a passphrase is given; this is recorded",
        body=Protection,
        answer=PrivateKeyDocument,
    )
    async def private_key(self, call: Call) -> Answer:
        """Export the private key (KEY-4)."""
        passphrase = call.take(Protection).passphrase
        text = await self._keys.private_pem(call.principal, call.id, passphrase, downloaded=True)
        return Answer(200, PrivateKeyDocument(call.id, passphrase is not None, text), secret=True)

    @Operation(
        "DELETE",
        "/keys/<id>",
        scope=Scope.ENROLL,
        summary="Delete a stored key permanently; requests and certificates made with it stay",
        statuses=(204,),
    )
    async def delete(self, call: Call) -> Answer:
        """Delete a key (KEY-5)."""
        await self._keys.delete(call.principal, call.id)
        return NO_CONTENT

    @Operation(
        "POST",
        "/certificates/<id>/pfx",
        scope=Access.WHOLE_ACCOUNT,
        summary="PKCS#12 of certificate, private key and chain, where the key is kept here; this is recorded",
        body=PFXProtection,
        files=("application/x-pkcs12",),
    )
    async def pfx(self, call: Call) -> Answer:
        """Export a certificate with its key as PKCS#12 (CRT-4)."""
        record = await self._inventory.certificate(call.principal, call.id)
        protection = call.take(PFXProtection)
        compatible = protection.form is PFXForm.COMPATIBLE
        body = await self._keys.pfx(call.principal, record, protection.passphrase, compatible=compatible)
        name = f'attachment; filename="{certificate_filename(record)}.pfx"'
        headers = {b"Content-Disposition": name.encode("ascii")}
        return Answer(200, body, b"application/x-pkcs12", headers, secret=True)


def _key_file(body: NewKey) -> bytes | None:
    """Return the uploaded file, or ``None`` when a key is to be generated."""
    if body.pem is not None:
        return body.pem.encode("utf-8", "replace")
    if body.pkcs12 is not None:
        return decode_base64(body.pkcs12.encode("utf-8", "replace"))
    return None


def _public(key: StoredKey) -> str:
    return pem("PUBLIC KEY", key.spki)


def _summary(key: StoredKey, names: OwnerNames) -> KeySummary:
    family, choice = parts_of_type(key.key_type)
    return KeySummary(
        id=key.id,
        name=key.name,
        key=key.key_type,
        type=family,
        size=int(choice) if family == "RSA" else None,
        curve=choice if family == "EC" else None,
        algorithm=choice if family == "PQC" else None,
        owner=names.get(key.owner_id),
        created_at=key.created_at,
    )
