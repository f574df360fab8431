"""``/keys``: stored private keys (KEY-1 to KEY-5), and PKCS#12 files (CRT-4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pikachu.core.errors import MalformedRequest
from pikachu.core.model.certificates import format_serial
from pikachu.core.model.objects import StoredKey
from pikachu.core.model.people import Scope
from pikachu.inventory.certificates import CertificateQueries, OwnerNames
from pikachu.inventory.keys import Keys, key_name, parts_of_type
from pikachu.web.api.bodies import extended
from pikachu.web.api.routes import NO_CONTENT, Access, Answer, Call, Operation, Routes, created, listed
from pikachu.x509.pem import pem


@dataclass(frozen=True, slots=True)
class NewKey:
    """``type`` is RSA, EC, Ed25519 or PQC, with the matching one of ``size``, ``curve``, ``algorithm``.

    The defaults are RSA of 2048 bits, prime256v1 and mldsa44.
    """

    name: str
    type: str = ""
    size: int | None = None
    curve: str | None = None
    algorithm: str | None = None


@dataclass(frozen=True, slots=True)
class KeySummary:
    """A stored key, with the one of size, curve and algorithm that its type has."""

    id: int
    name: str
    key: str
    type: str
    size: int | None
    curve: str | None
    algorithm: str | None
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

    passphrase: str | None = None


@dataclass(frozen=True, slots=True)
class PrivateKeyDocument:
    """A private key: PKCS#8 in PEM."""

    id: int
    encrypted: bool
    private_pem: str


@dataclass(frozen=True, slots=True)
class PFXProtection:
    """The passphrase of the PKCS#12 file."""

    passphrase: str


class KeysAPI(Routes):
    """Stored keys."""

    def __init__(self, *, keys: Keys, inventory: CertificateQueries) -> None:
        self._keys: Keys = keys
        self._inventory = inventory

    @Operation(
        "POST",
        "/keys",
        scope=Scope.ENROLL,
        summary="Make a private key and keep it here, encrypted",
        body=NewKey,
        answer=KeyDocument,
        statuses=(201,),
    )
    async def create(self, call: Call) -> Answer:
        """Generate a key (KEY-1)."""
        body = call.take(NewKey)
        parameters = [str(one) for one in (body.size, body.curve, body.algorithm) if one is not None]
        if len(parameters) > 1:
            raise MalformedRequest("a key has a size, a curve or an algorithm: give one of the three")
        key = await self._keys.generate(call.principal, body.name, key_name(body.type, *parameters))
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
        owner="owner_id",
        sorts=("id", "created_at", "name"),
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
        summary="Delete a stored key for good; requests and certificates made with it stay",
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
    )
    async def pfx(self, call: Call) -> Answer:
        """Export a certificate with its key as PKCS#12 (CRT-4)."""
        record = await self._inventory.certificate(call.principal, call.id)
        body = await self._keys.pfx(call.principal, record, call.take(PFXProtection).passphrase)
        name = f'attachment; filename="{format_serial(record.serial)}.pfx"'
        headers = {b"Content-Disposition": name.encode("ascii")}
        return Answer(200, body, b"application/x-pkcs12", headers, secret=True)


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
