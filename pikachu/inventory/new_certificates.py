"""Certificates from names and a key, in one operation without a CSR of the requester (ISS-1)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from twisted.logger import Logger

from pikachu.auth.permissions import require_scope
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import MalformedRequest, NotAuthorized, PikachuError, errors_of
from pikachu.core.interfaces import IStore, IWorkerPool
from pikachu.core.model.account_objects import StoredKey
from pikachu.core.model.certificates import Method
from pikachu.core.model.people import Principal, Scope
from pikachu.inventory.keys import MAXIMUM_NAME, Keys, checked_name
from pikachu.ra.enrollment import Issued, Pending
from pikachu.ra.preview import GivenExtension, Preview
from pikachu.ra.registration_authority import RegistrationAuthority, UnsignedCSR
from pikachu.signers.key import sign_request
from pikachu.x509.certificate import SUBJECT_KEY_IDENTIFIER, assemble
from pikachu.x509.keys import PrivateKey, describe_private_key
from pikachu.x509.names import name_from_text, read_name
from pikachu.x509.placeholder_keys import placeholder_public_key
from pikachu.x509.request_info import request_for
from pikachu.x509.san import GeneralName
from pikachu.x509.san_input import parse_names
from pikachu.x509.signature import request_algorithm
from pikachu.x509.spki import describe_spki

log = Logger()

_UNNAMED: Final = "unnamed"


@dataclass(frozen=True, slots=True)
class CertificateNames:
    """The names of a certificate: a DER Name, perhaps empty, and subject alternative names."""

    subject_der: bytes
    sans: tuple[GeneralName, ...] = ()

    @classmethod
    def of(cls, subject: str, sans: Sequence[str] = ()) -> CertificateNames:
        """Return the names for an RFC 4514 text and names such as ``DNS:a.example.com``.

        :raises MalformedRequest: there are no names, or one is wrong; with a message for each wrong one of *sans*.
        :raises BadCSR: no certificate may have that subject.
        """
        return cls.of_subject(name_from_text(subject.strip()), sans)

    @classmethod
    def of_subject(cls, subject_der: bytes, sans: Sequence[str] = ()) -> CertificateNames:
        """Return the names for a DER Name and names such as ``DNS:a.example.com``; raises like :meth:`of`."""
        with errors_of("sans"):
            names = cls(subject_der, parse_names(sans))
        if not names.label:
            raise MalformedRequest("Enter a subject or at least one subject alternative name.", field="common_name")
        return names

    @property
    def label(self) -> str:
        """The common name, else the first other name; empty when there is none."""
        subject = read_name(self.subject_der)
        return subject.common_name or subject.text or next((name.value for name in self.sans), "")


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    """A key to generate.

    :param kind: one of :data:`pikachu.x509.keys.KEY_NAMES`.
    :param name: empty for the certificate's name.
    """

    kind: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class CertificateOrder:
    """A requested certificate.

    :param key: the id of a stored key, or the key to generate.
    :param policy: its name; ``None``: the default policy.
    :param days: ``None``: the validity of the policy.
    :param issuer: name of the issuing CA; ``None``: that of policy and configuration.
    :param owner_id: the account that gets certificate and key, when an administrator renews for it; ``None``: the
        requester.
    :param renews: the serial number of the certificate that is renewed; empty: none is.
    :param reuses_key: whether that certificate is renewed with its key.
    """

    names: CertificateNames
    key: int | GeneratedKey
    policy: str | None = None
    days: int | None = None
    issuer: str | None = None
    owner_id: int | None = None
    renews: str = ""
    reuses_key: bool = False


@dataclass(frozen=True, slots=True)
class OrderedCertificate:
    """The result of an order.

    :param key: its stored key; ``None`` when that was deleted since.
    """

    result: Issued | Pending
    key: StoredKey | None


class NewCertificates:
    """Issues certificates for names, with keys that are stored here.

    Both methods fail with AuthenticationFailed, NotAuthorized, NotFound (key, policy, issuing CA), BadCSR,
    PolicyViolation, Overloaded and Unavailable.

    :param pool: signs CSRs.
    """

    def __init__(self, *, registration: RegistrationAuthority, keys: Keys, store: IStore, pool: IWorkerPool) -> None:
        self._registration = registration
        self._keys = keys
        self._store = store
        self._pool = pool

    @uncancelled
    async def issue(
        self, actor: Principal, order: CertificateOrder, method: Method, idempotency_key: str | None = None
    ) -> OrderedCertificate:
        """Issue the certificate, or leave it waiting for approval if the policy says so.

        A new key is stored once the policy has granted the certificate, and deleted when it is not issued after all.
        A copy of the request with the same *idempotency_key* gets the same result, and no other key, for 24 hours.
        """
        require_scope(actor, Scope.ENROLL)
        source = _Source(self._keys, self._pool, actor, order)
        try:
            result = await self._registration.sign(
                actor,
                source,
                method,
                policy=order.policy,
                days=order.days,
                issuer=order.issuer,
                idempotency_key=idempotency_key,
            )
        except Exception as error:
            await source.withdraw(error)
            raise
        public = await self._public_of(result)
        if source.generated is not None and source.generated.key_id != public:
            # Another process has issued an earlier copy of the request meanwhile.
            await source.withdraw()
        return await self.with_key(actor, result)

    async def with_key(self, actor: Principal, result: Issued | Pending) -> OrderedCertificate:
        """Return the result of a request with its stored key."""
        return OrderedCertificate(result, await self._keys.of_public(actor, await self._public_of(result)))

    async def _public_of(self, result: Issued | Pending) -> bytes:
        if isinstance(result, Issued):
            return result.record.key_id
        return (await self._store.request(result.request_id)).key_id

    @uncancelled
    async def preview(self, actor: Principal, order: CertificateOrder, method: Method) -> Preview:
        """Return the certificate that :meth:`issue` would issue, or its refusal; nothing is generated or stored."""
        require_scope(actor, Scope.ENROLL)
        is_new = isinstance(order.key, GeneratedKey)
        if isinstance(order.key, GeneratedKey):
            spki = placeholder_public_key(order.key.kind)
        else:
            spki = (await own_key(self._keys, actor, order.key, _owner_id(actor, order))).spki
        info = request_for(order.names.subject_der, order.names.sans, spki)
        unsigned = assemble(info, request_algorithm(describe_spki(spki), None).der, b"")
        preview = await self._registration.preview(
            actor,
            UnsignedCSR(unsigned, _owner_id(actor, order), order.reuses_key),
            method,
            policy=order.policy,
            days=order.days,
            issuer=order.issuer,
        )
        return _without_placeholder(preview) if is_new else preview


class _Source:
    """The CSR of an order; see :class:`pikachu.ra.registration_authority.ICSRSource`.

    :ivar generated: the key that was generated and stored for it.
    """

    def __init__(self, keys: Keys, pool: IWorkerPool, actor: Principal, order: CertificateOrder) -> None:
        self.generated: StoredKey | None = None
        self._keys = keys
        self._pool = pool
        self._actor = actor
        self._order = order
        self._private_key: PrivateKey | None = None

    @property
    def owner_id(self) -> int | None:
        return _owner_id(self._actor, self._order)

    @property
    def renews(self) -> str:
        return self._order.renews

    @property
    def reuses_key(self) -> bool:
        return self._order.reuses_key

    @property
    def identity(self) -> bytes:
        names, key = self._order.names, self._order.key
        fields = [key] if isinstance(key, int) else [key.kind, key.name]
        parts = [self.owner_id, names.subject_der.hex(), [name.der.hex() for name in names.sans], fields, self.renews]
        return hashlib.sha256(b"new certificate " + json.dumps(parts).encode()).digest()

    async def create(self) -> bytes:
        key = self._order.key
        if isinstance(key, GeneratedKey):
            self._key_name(key)
            self._private_key = private_key = await self._keys.generate_unstored(self._actor, key.kind)
        else:
            await own_key(self._keys, self._actor, key, self.owner_id)
            _, private_key = await self._keys.opened(self._actor, key)
        return await self._pool.run(_signed, self._order.names, private_key)

    async def accept(self) -> None:
        key = self._order.key
        if isinstance(key, GeneratedKey) and self._private_key is not None:
            name = self._key_name(key)
            self.generated = await self._keys.add_generated(self._actor, name, self._private_key, self.owner_id)

    def _key_name(self, key: GeneratedKey) -> str:
        if key.name:
            return checked_name(key.name, "a key's name")
        label = "".join(one for one in self._order.names.label[:MAXIMUM_NAME] if one.isprintable()).strip()
        return label or _UNNAMED

    async def withdraw(self, reason: Exception | None = None) -> None:
        """Delete the new key; *reason* says so when it stays, since the request may still get a certificate."""
        key, self.generated = self.generated, None
        if key is None:
            return
        try:
            await self._keys.withdraw(self._actor, key)
        except PikachuError as error:
            log.warn("The new key {name} (ID {id}) is kept: {error}", name=key.name, id=key.id, error=error.public)
            if isinstance(reason, PikachuError):
                reason.public = f"{reason.public} The new key {key.name} (ID {key.id}) was kept."


async def own_key(keys: Keys, actor: Principal, key_id: int, owner_id: int | None) -> StoredKey:
    """Return a stored key of the account that gets the certificate.

    Fails with NotFound, and with NotAuthorized when an administrator names another account's key.
    """
    key = await keys.get(actor, key_id)
    if key.owner_id != owner_id:
        raise NotAuthorized("This key belongs to another user. Choose a key of the certificate's owner.")
    return key


def _owner_id(actor: Principal, order: CertificateOrder) -> int | None:
    return actor.owner_id if order.owner_id is None else order.owner_id


def _signed(names: CertificateNames, private_key: PrivateKey) -> bytes:
    spki = describe_private_key(private_key).spki
    return sign_request(private_key, request_for(names.subject_der, names.sans, spki), None)


def _without_placeholder(preview: Preview) -> Preview:
    """Return the preview without the identifier of the key that stands for the one to be generated."""
    if preview.given is None:
        return preview

    def shown(extension: GivenExtension) -> GivenExtension:
        is_identifier = extension.oid == SUBJECT_KEY_IDENTIFIER
        return replace(extension, text=("of the new key",)) if is_identifier else extension

    extensions = tuple(map(shown, preview.given.extensions))
    return replace(preview, given=replace(preview.given, extensions=extensions))
