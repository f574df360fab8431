"""The rules about private keys that people keep here (KEY-1 to KEY-5), and PKCS#12 files made with them (CRT-4).

A private key stands in the database sealed under SECRET_KEY.  It is seen by its owner and by admins, who act for
themselves and not by a restricted token, and each look at it is recorded.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Final

from twisted.internet.defer import Deferred

from pikachu.auth.permissions import can_view, require_scope, require_visible, require_whole_account, scope_to_owner
from pikachu.ca.issuance import IssuingCAs
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import MalformedRequest, NotFound, Overloaded
from pikachu.core.interfaces import IClock, IStore, IWorkerPool
from pikachu.core.model.certificates import CertificateRecord, format_serial
from pikachu.core.model.events import Event
from pikachu.core.model.lists import ListQuery, Page
from pikachu.core.model.objects import KeyUse, NewKey, StoredKey
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.times import utc
from pikachu.core.sealing import Sealer
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
#: How many keys of one account may be made at a time: others wait in the same queue.
AT_ONCE: Final = 8

#: What can be made: family → its choices, the first of which is the default.
CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "RSA": ("2048", "3072", "4096"),
    "EC": ("prime256v1", "secp384r1", "secp521r1", "secp256k1"),
    "Ed25519": (),
    "PQC": ("mldsa44", "mldsa65", "mldsa87"),
}
_FAMILIES: Final = {family.lower(): family for family in CHOICES}
_FAMILY_OF: Final = {choice: family for family, choices in CHOICES.items() for choice in choices}


def checked_name(name: str, what: str) -> str:
    """A name as it is kept.

    :raises MalformedRequest: it is empty, too long or not printable.
    """
    name = name.strip()
    if not 1 <= len(name) <= MAXIMUM_NAME or not name.isprintable():
        raise MalformedRequest(f"{what} is 1 to {MAXIMUM_NAME} printable characters")
    return name


def key_name(family: str, choice: str = "") -> str:
    """The name of ``pikachu.x509.keys.KEY_NAMES`` for a family and a choice of it: ``rsa3072`` for RSA and 3072.

    :param family: one of :data:`CHOICES`; or both together, as ``RSA/3072`` and ``rsa3072``.
    :param choice: size, curve or algorithm; empty: the family's first one.
    :raises MalformedRequest: there is no such kind of key.
    """
    family, choice = family.strip().lower(), choice.strip().lower()
    if not choice:
        family, _, choice = family.partition("/")
        if family in KEY_NAMES:
            return family
    known = _FAMILIES.get(family) or (_FAMILY_OF.get(choice) if not family else None)
    if known is None:
        raise MalformedRequest(f"the type of a key is one of {', '.join(CHOICES)}")
    choices = CHOICES[known]
    if choice and choice not in choices:
        allowed = f"one of {', '.join(choices)}" if choices else "empty"
        raise MalformedRequest(f"size, curve or algorithm of a key of type {known} is {allowed}")
    if not choices:
        return known.lower()
    return f"rsa{choice or choices[0]}" if known == "RSA" else choice or choices[0]


def parts_of_type(key_type: str) -> tuple[str, str]:
    """(family, choice) of a key type such as ``RSA/2048``; Ed25519 has no choice."""
    family, _, choice = key_type.partition("/")
    return family, choice


class Keys:
    """What people do with stored keys.

    All methods fail with AuthenticationFailed for an anonymous *actor*, with NotAuthorized where role or scope do not
    reach, with StoreUnavailable, and with SecretKeyChanged where a private key is needed and was sealed under another
    SECRET_KEY.  They run to their end even when their Deferred is cancelled.

    :param pool: where keys are made and read, which takes up to seconds.
    """

    def __init__(self, store: IStore, sealer: Sealer, issuers: IssuingCAs, pool: IWorkerPool, clock: IClock) -> None:
        self._store = store
        self._sealer = sealer
        self._issuers = issuers
        self._pool = pool
        self._clock = clock
        # By account: how many keys are being made.
        self._making: Counter[int | None] = Counter()

    @uncancelled
    async def generate(self, actor: Principal, name: str, kind: str) -> StoredKey:
        """A new key of the actor's own (KEY-1).

        :param kind: as :func:`key_name` gives it.

        Fails with MalformedRequest, UnsupportedAlgorithm, Overloaded.
        """
        require_scope(actor, Scope.ENROLL)
        name = checked_name(name, "a key's name")
        private_key = await self._made(actor, kind)
        described = describe_private_key(private_key)
        sealed = self._sealer.seal(SEALED_AS, private_key_info(private_key))
        event = event_by(actor, "create", "key", name, actor.owner_id, key=described.text)
        return await self._store.add_key(
            NewKey(name, described.text, described.key_id, described.spki, sealed, actor.owner_id), event, self._now()
        )

    async def _made(self, actor: Principal, kind: str) -> PrivateKey:
        owner_id = actor.owner_id
        if self._making[owner_id] >= AT_ONCE:
            raise Overloaded(f"{AT_ONCE} of your keys are being made; wait until one of them is there", retry_after=5)
        self._making[owner_id] += 1
        try:
            return await self._pool.run(generate_private_key, kind)
        finally:
            self._making[owner_id] -= 1
            if not self._making[owner_id]:
                del self._making[owner_id]

    @uncancelled
    async def get(self, actor: Principal, key_id: int) -> StoredKey:
        """One of one's own, or any for admins.  Fails with NotFound."""
        return await self._visible(actor, key_id, Scope.READ)

    @uncancelled
    async def list(self, actor: Principal, query: ListQuery) -> Page[StoredKey]:
        """One's own; for admins those of ``query.owner_id``, or all; filter ``type``."""
        return await self._store.keys(scope_to_owner(actor, query))

    @uncancelled
    async def use(self, actor: Principal, key_id: int) -> KeyUse:
        """How many requests and certificates use it (KEY-5).  Fails with NotFound."""
        await self._visible(actor, key_id, Scope.READ)
        return await self._store.key_use(key_id)

    @uncancelled
    async def delete(self, actor: Principal, key_id: int) -> None:
        """It is gone for good; what was made with it stays.  Fails with NotFound."""

        def decide(key: StoredKey, use: KeyUse) -> Event:
            require_visible(actor, key, "key")
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
        """The private key as PKCS#8 in PEM (KEY-3, KEY-4); that somebody looked is recorded before they see it.

        :param passphrase: encrypts it; ``None`` leaves it open.
        :param downloaded: whether it leaves as a file.

        Fails with NotFound, MalformedRequest (passphrase), Overloaded.
        """
        require_whole_account(actor)
        found = await self._visible(actor, key_id, Scope.READ)
        if passphrase is not None:
            passphrase_octets(passphrase)
        private_key = await self._opened(found)
        text = await self._pool.run(private_key_pem, private_key, passphrase)
        event = event_by(
            actor,
            "download" if downloaded else "view",
            "key",
            found.name,
            found.owner_id,
            private_key=True,
            encrypted=passphrase is not None,
        )
        await self._store.add_event(event, self._now())
        return text

    @uncancelled
    async def opened(self, actor: Principal, key_id: int) -> tuple[StoredKey, PrivateKey]:
        """A key to sign a request with.  Fails with NotFound."""
        found = await self._visible(actor, key_id, Scope.ENROLL)
        return found, await self._opened(found)

    # --- PKCS#12 --------------------------------------------------------------------------

    @uncancelled
    async def has_key(self, actor: Principal, record: CertificateRecord) -> bool:
        """Whether the private key of that certificate is kept here, where *actor* sees it."""
        return await self._key_of(actor, record) is not None

    @uncancelled
    async def pfx(self, actor: Principal, record: CertificateRecord, passphrase: str) -> bytes:
        """PKCS#12 of certificate, private key and chain (CRT-4), recorded before it is handed out.

        Fails with NotFound, MalformedRequest (passphrase), UnsupportedAlgorithm (ML-DSA), Overloaded.
        """
        require_whole_account(actor)
        if not can_view(actor, record.owner_id):
            raise NotFound("there is no such certificate")
        found = await self._key_of(actor, record)
        if found is None:
            raise NotFound("the private key of this certificate is not kept here")
        passphrase_octets(passphrase)
        issuer = self._issuers.by_id(record.issuer_id)
        chain = () if issuer is None else issuer.chain
        private_key = await self._opened(found)
        made = await self._pool.run(
            pkcs12_file, private_key, record.der, chain, passphrase, record.common_name or format_serial(record.serial)
        )
        event = event_by(
            actor,
            "download",
            "key",
            found.name,
            found.owner_id,
            private_key=True,
            encrypted=True,
            format="PKCS#12",
            serial=format_serial(record.serial),
            subject=record.subject,
        )
        await self._store.add_event(event, self._now())
        return made

    async def _key_of(self, actor: Principal, record: CertificateRecord) -> StoredKey | None:
        require_scope(actor, Scope.READ)
        for found in await self._store.keys_of_public(record.key_id):
            if can_view(actor, found.owner_id):
                return found
        return None

    # --- what is stored -------------------------------------------------------------------

    def _opened(self, key: StoredKey) -> Deferred[PrivateKey]:
        def work() -> PrivateKey:
            return load_private_key(self._sealer.open(SEALED_AS, key.sealed))

        return self._pool.run(work)

    async def _visible(self, actor: Principal, key_id: int, scope: Scope) -> StoredKey:
        require_scope(actor, scope)
        found = await self._store.key(key_id)
        require_visible(actor, found, "key")
        return found

    def _now(self) -> datetime:
        return utc(self._clock.seconds())
