"""Stored private keys (KEY-1 to KEY-5), and PKCS#12 files with them (CRT-4).

Private keys are sealed under SECRET_KEY in the database.  Their owners and administrators may read them, but not with a
restricted token, and each access is recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from twisted.internet.defer import Deferred

from pikachu.auth.permissions import (
    can_change,
    can_view,
    require_changeable,
    require_scope,
    require_visible,
    require_whole_account,
    scope_to_owner,
)
from pikachu.ca.issuers import IssuingCAs
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import Conflict, MalformedRequest, NotAuthorized, NotFound, Overloaded
from pikachu.core.interfaces import IClock, IStore, IWorkerPool
from pikachu.core.model.account_objects import KeyUse, NewKey, StoredKey
from pikachu.core.model.certificates import CertificateRecord, format_serial
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.times import utc
from pikachu.core.sealing import Sealer, key_row
from pikachu.signers.key import check_key_pair
from pikachu.x509.key_files import read_key_file
from pikachu.x509.keys import (
    KEY_NAMES,
    PrivateKey,
    describe_private_key,
    generate_private_key,
    load_private_key,
    passphrase_octets,
    private_key_info,
    private_key_pem,
)
from pikachu.x509.pkcs12 import pkcs12_file

SEALED_AS: Final = "key"
MAXIMUM_NAME: Final = 128
#: Maximum number of concurrent key generations per account, since all accounts share the queue.
AT_ONCE: Final = 8

#: Key families → their choices, the first one by default.
CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "RSA": ("2048", "3072", "4096"),
    "EC": ("prime256v1", "secp384r1", "secp521r1", "secp256k1"),
    "Ed25519": (),
    "PQC": ("mldsa44", "mldsa65", "mldsa87"),
}
_FAMILIES: Final = {family.lower(): family for family in CHOICES}
_FAMILY_OF: Final = {choice: family for family, choices in CHOICES.items() for choice in choices}


def checked_name(name: str, what: str) -> str:
    """Normalize the name of an object.

    :raises MalformedRequest: when it is empty, too long or not printable.
    """
    name = name.strip()
    if not 1 <= len(name) <= MAXIMUM_NAME or not name.isprintable():
        raise MalformedRequest(f"{what} is 1 to {MAXIMUM_NAME} printable characters", field="name")
    return name


def key_name(family: str, choice: str = "") -> str:
    """Return the name in ``pikachu.x509.keys.KEY_NAMES`` of a family and choice: ``rsa3072`` for RSA and 3072.

    :param family: a key of :data:`CHOICES`, or family and choice together, such as ``RSA/3072`` and ``rsa3072``.
    :param choice: size, curve or algorithm; empty for the family's default.
    :raises MalformedRequest: for an unknown kind of key.
    """
    family, choice = family.strip().lower(), choice.strip().lower()
    if not choice:
        family, _, choice = family.partition("/")
        if family in KEY_NAMES:
            return family
    known = _FAMILIES.get(family) or (_FAMILY_OF.get(choice) if not family else None)
    if known is None:
        raise MalformedRequest(f"the type of a key is one of {', '.join(CHOICES)}", field="type")
    choices = CHOICES[known]
    if choice and choice not in choices:
        allowed = f"one of {', '.join(choices)}" if choices else "empty"
        raise MalformedRequest(
            f"size, curve or algorithm of a key of type {known} is {allowed}", field=f"choice-{known}"
        )
    if not choices:
        return known.lower()
    return f"rsa{choice or choices[0]}" if known == "RSA" else choice or choices[0]


def parts_of_type(key_type: str) -> tuple[str, str]:
    """Return (family, choice) of a key type such as ``RSA/2048``; Ed25519 has no choice."""
    family, _, choice = key_type.partition("/")
    return family, choice


class Keys:
    """Operations of principals on stored keys.

    All methods fail with AuthenticationFailed for an anonymous *actor*, with NotAuthorized without the role or scope,
    with StoreUnavailable, and with SecretKeyChanged for a private key that was sealed under another SECRET_KEY.  They
    run to completion even if their Deferred is cancelled.

    :param pool: generates and parses keys, which takes up to seconds.
    """

    def __init__(self, store: IStore, sealer: Sealer, issuers: IssuingCAs, pool: IWorkerPool, clock: IClock) -> None:
        self._store = store
        self._sealer = sealer
        self._issuers = issuers
        self._pool = pool
        self._clock = clock
        # Account id → number of active key generations.
        self._making: Counter[int | None] = Counter()

    @uncancelled
    async def generate(self, actor: Principal, name: str, kind: str) -> StoredKey:
        """Generate and store a key of the actor (KEY-1).

        :param kind: a result of :func:`key_name`.

        Fails with MalformedRequest, UnsupportedAlgorithm, Overloaded.
        """
        require_scope(actor, Scope.ENROLL)
        name = checked_name(name, "a key's name")
        return await self.add_generated(actor, name, await self.generate_unstored(actor, kind), actor.owner_id)

    @uncancelled
    async def generate_unstored(self, actor: Principal, kind: str) -> PrivateKey:
        """Generate a key that :meth:`add_generated` stores once its certificate is granted.

        :param kind: a result of :func:`key_name`.

        Fails with UnsupportedAlgorithm, Overloaded.
        """
        require_scope(actor, Scope.ENROLL)
        return await self._run(actor, lambda: generate_private_key(kind))

    @uncancelled
    async def add_generated(
        self, actor: Principal, name: str, private_key: PrivateKey, owner_id: int | None
    ) -> StoredKey:
        """Store a key generated for the account *owner_id*.  Fails with QuotaExceeded."""
        return await self._add(actor, name, private_key, owner_id)

    @uncancelled
    async def withdraw(self, actor: Principal, key: StoredKey) -> None:
        """Delete a new key whose certificate was not issued.  Fails with Conflict when something uses it."""

        def decide(stored: StoredKey, use: KeyUse) -> Event:
            if use.certificates or use.requests or use.unissued:
                raise Conflict("this key is in use")
            return event_by(actor, "delete", "key", stored.name, stored.owner_id, key=stored.key_type, unused=True)

        await self._store.delete_key(key.id, decide, self._now())

    @uncancelled
    async def import_key(
        self,
        actor: Principal,
        name: str,
        data: bytes,
        passphrase: str | None = None,
        alias: str = "",
        owner_id: int | None = None,
    ) -> StoredKey:
        """Store an existing private key.

        :param data: PEM, DER, Base64 or PKCS#12; certificates in the file are ignored.
        :param alias: of the key, where a PKCS#12 file has several.
        :param owner_id: the account that gets the key, for admins; ``None``: the actor.

        Fails with MalformedRequest, UnsupportedAlgorithm, BadPublicKey, TooLarge, NotAuthorized, Overloaded, and with
        Conflict when the account already stores this key.
        """

        def read() -> PrivateKey:
            private_key = read_key_file(data, passphrase, alias).private_key
            check_key_pair(private_key)
            return private_key

        require_scope(actor, Scope.ENROLL)
        owner_id = actor.owner_id if owner_id is None else owner_id
        if not can_change(actor, owner_id):
            raise NotAuthorized("only administrators import keys for other users")
        name = checked_name(name, "a key's name")
        private_key = await self._run(actor, read)
        for stored in await self._store.keys_of_public(describe_private_key(private_key).key_id):
            if stored.owner_id == owner_id:
                raise Conflict(f"this key is already stored: {stored.name} (ID {stored.id})")
        return await self._add(actor, name, private_key, owner_id, imported=True)

    async def _add(
        self, actor: Principal, name: str, private_key: PrivateKey, owner_id: int | None, **details: bool
    ) -> StoredKey:
        described = describe_private_key(private_key)
        plaintext = private_key_info(private_key)

        def seal(row_id: int) -> bytes:
            return self._sealer.seal(SEALED_AS, plaintext, key_row(row_id, described.key_id))

        event = event_by(actor, "create", "key", name, owner_id, key=described.text, **details)
        return await self._store.add_key(
            NewKey(name, described.text, described.key_id, described.spki, seal, owner_id), event, self._now()
        )

    async def _run(self, actor: Principal, work: Callable[[], PrivateKey]) -> PrivateKey:
        """Generate or read a key in the pool, a few at a time for each account."""
        owner_id = actor.owner_id
        if self._making[owner_id] >= AT_ONCE:
            raise Overloaded(f"{AT_ONCE} of your keys are being made; wait until one of them is there", retry_after=5)
        self._making[owner_id] += 1
        try:
            return await self._pool.run(work)
        finally:
            self._making[owner_id] -= 1
            if not self._making[owner_id]:
                del self._making[owner_id]

    @uncancelled
    async def get(self, actor: Principal, key_id: int) -> StoredKey:
        """Return a visible key.  Fails with NotFound."""
        return await self._visible(actor, key_id, Scope.READ)

    @uncancelled
    async def list(self, actor: Principal, query: ListQuery) -> Page[StoredKey]:
        """List the actor's keys; for administrators those of ``query.owner_id``, or all.  Filter ``type``."""
        return await self._store.keys(scope_to_owner(actor, query))

    @uncancelled
    async def use(self, actor: Principal, key_id: int) -> KeyUse:
        """Return the numbers of CSRs and certificates that use a key (KEY-5).  Fails with NotFound."""
        await self._visible(actor, key_id, Scope.READ)
        return await self._store.key_use(key_id)

    @uncancelled
    async def delete(self, actor: Principal, key_id: int) -> None:
        """Delete a key irrevocably, but not the objects that use it.  Fails with NotFound."""

        def decide(key: StoredKey, use: KeyUse) -> Event:
            require_changeable(actor, key, "key")
            return event_by(
                actor,
                "delete",
                "key",
                key.name,
                key.owner_id,
                key=key.key_type,
                requests=use.requests,
                certificates=use.certificates,
            )

        require_scope(actor, Scope.ENROLL)
        await self._store.delete_key(key_id, decide, self._now())

    @uncancelled
    async def private_pem(
        self, actor: Principal, key_id: int, passphrase: str | None = None, *, downloaded: bool = False
    ) -> str:
        """Return the private key as PKCS#8 in PEM, after recording the access (KEY-3, KEY-4).

        :param passphrase: encrypts the key; ``None`` for no encryption.
        :param downloaded: whether the key is downloaded as a file.

        Fails with NotFound, MalformedRequest (passphrase), Overloaded.
        """
        require_scope(actor, Scope.ENROLL)
        require_whole_account(actor)
        key = await self._usable(actor, key_id)
        if passphrase is not None:
            passphrase_octets(passphrase)
        private_key = await self._opened(key)
        text = await self._pool.run(private_key_pem, private_key, passphrase)
        event = event_by(
            actor,
            "download" if downloaded else "view",
            "key",
            key.name,
            key.owner_id,
            private_key=True,
            encrypted=passphrase is not None,
        )
        await self._store.add_event(event, self._now())
        return text

    @uncancelled
    async def opened(self, actor: Principal, key_id: int) -> tuple[StoredKey, PrivateKey]:
        """Return a visible key with its decrypted private key, to sign a CSR.  Fails with NotFound."""
        key = await self._usable(actor, key_id)
        return key, await self._opened(key)

    # --- PKCS#12 --------------------------------------------------------------------------

    @uncancelled
    async def has_key(self, actor: Principal, record: CertificateRecord) -> bool:
        """Return whether the private key of a certificate is stored here and visible to *actor*."""
        return await self._key_of(actor, record) is not None

    @uncancelled
    async def pfx(
        self, actor: Principal, record: CertificateRecord, passphrase: str, *, compatible: bool = False
    ) -> bytes:
        """Return PKCS#12 of certificate, private key and chain, after recording the access (CRT-4).

        :param compatible: with triple DES and SHA-1, for programs that read nothing newer.

        Fails with NotFound, MalformedRequest (passphrase), UnsupportedAlgorithm (ML-DSA), Overloaded.
        """
        require_scope(actor, Scope.ENROLL)
        require_whole_account(actor)
        require_changeable(actor, record, "certificate")
        key = await self._key_of(actor, record)
        if key is None:
            raise NotFound("the private key of this certificate is not kept here")
        require_changeable(actor, key, "key")
        passphrase_octets(passphrase)
        issuer = self._issuers.by_id(record.issuer_id)
        chain = () if issuer is None else issuer.chain
        private_key = await self._opened(key)
        pkcs12 = await self._pool.run(
            pkcs12_file,
            private_key,
            record.der,
            chain,
            passphrase,
            record.name,
            compatible=compatible,
        )
        event = event_by(
            actor,
            "download",
            "key",
            key.name,
            key.owner_id,
            private_key=True,
            encrypted=True,
            format="PKCS#12, compatible" if compatible else "PKCS#12",
            serial=format_serial(record.serial),
            subject=record.subject,
        )
        await self._store.add_event(event, self._now())
        return pkcs12

    @uncancelled
    async def of_public(self, actor: Principal, public: bytes) -> StoredKey | None:
        """Return the visible key whose SubjectPublicKeyInfo has that SHA-256, or None."""
        return next(iter(await self.all_of_public(actor, public)), None)

    @uncancelled
    async def all_of_public(self, actor: Principal, public: bytes) -> Sequence[StoredKey]:
        """Return the visible keys whose SubjectPublicKeyInfo has that SHA-256, each of another account."""
        return [key for key in await self._store.keys_of_public(public) if can_view(actor, key.owner_id)]

    async def _key_of(self, actor: Principal, record: CertificateRecord) -> StoredKey | None:
        require_scope(actor, Scope.READ)
        return await self.of_public(actor, record.key_id)

    # --- stored keys -------------------------------------------------------------------

    def _opened(self, key: StoredKey) -> Deferred[PrivateKey]:
        def work() -> PrivateKey:
            return load_private_key(self._sealer.open(SEALED_AS, key.sealed, key_row(key.id, key.key_id)))

        return self._pool.run(work)

    async def _visible(self, actor: Principal, key_id: int, scope: Scope) -> StoredKey:
        require_scope(actor, scope)
        key = await self._store.key(key_id)
        require_visible(actor, key, "key")
        return key

    async def _usable(self, actor: Principal, key_id: int) -> StoredKey:
        key = await self._visible(actor, key_id, Scope.ENROLL)
        require_changeable(actor, key, "key")
        return key

    def _now(self) -> datetime:
        return utc(self._clock.seconds())
