"""The issuing CAs in service: each generation's key, certificate and path, and which of them signs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from twisted.logger import Logger

from pikachu.core.engine_interfaces import ICertificateEngine
from pikachu.core.errors import (
    IssuerRevoked,
    NotFound,
)
from pikachu.core.interfaces import IDecrypter, ISigner
from pikachu.core.model.certificates import (
    IssuerRecord,
)
from pikachu.x509.certificate import (
    Certificate,
    parse_certificate,
)
from pikachu.x509.path import CertificationPath
from pikachu.x509.spki import describe_spki

log = Logger()


class IssuingCA:
    """One generation of an issuing CA: its key, its certificate and its row in the database.

    :param decrypter: decrypts messages for its certificate; ``None`` if its key can't (SCEP-2).
    :param engine: what builds the certificates that its signer gives; ``None`` when they are built here.
    :ivar name: ``ec``, ``rsa`` or ``mldsa``.
    :ivar rollover: DER certificates by which this generation's key and the previous one certify each other.
    :ivar revoked_at: when its certificate was revoked, as far as this process knows; the database decides.
    """

    def __init__(
        self,
        record: IssuerRecord,
        signer: ISigner,
        decrypter: IDecrypter | None = None,
        engine: ICertificateEngine | None = None,
    ) -> None:
        self.record = record
        self.signer = signer
        self.decrypter = decrypter
        self.engine = engine
        self.rollover: tuple[bytes, ...] = ()
        self.revoked_at: datetime | None = None
        self._chain = signer.chain
        self._path: CertificationPath | None = None
        self.certificate: Certificate = parse_certificate(signer.certificate)
        self.key = describe_spki(self.certificate.spki_der)

    @property
    def name(self) -> str:
        """``ec``, ``rsa`` or ``mldsa``."""
        return self.record.name

    @property
    def id(self) -> int:
        """The id of its row in the database."""
        return self.record.id

    @property
    def key_identifier(self) -> bytes:
        """The subjectKeyIdentifier."""
        return self.certificate.key_identifier

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The DER certificates from this CA to the root."""
        return self._chain

    def replace_chain(self, chain: tuple[bytes, ...]) -> None:
        """Use another chain from the same certificate to a root."""
        self._chain = chain
        self._path = None

    @property
    def path(self) -> CertificationPath:
        """The constraints of the CAs of its chain.

        :raises IssuanceFailed: when one of them, or its name constraints, can't be read.
        """
        if self._path is None:
            self._path = CertificationPath.read(self._chain or (self.certificate.der,))
        return self._path

    def require_unrevoked(self) -> None:
        """Require that this CA may still issue certificates.

        :raises IssuerRevoked: when its own certificate is revoked.
        """
        if self.revoked_at is not None:
            raise IssuerRevoked.of(self.name)


class IssuingCAs:
    """All issuing CAs in service: the current, former and announced generations of each name.

    :param default: the name selected by ``[CA] mode``.
    """

    def __init__(self, default: str, current: Mapping[str, IssuingCA]) -> None:
        if default not in current:
            raise ValueError(f"the default issuing CA {default!r} is not among {sorted(current)}")
        self._default = default
        self._current = dict(current)
        self._others: list[IssuingCA] = []
        self._next: dict[str, IssuingCA] = {}
        self._subscribers: list[Callable[[IssuingCA], None]] = []

    def subscribe(self, callback: Callable[[IssuingCA], None]) -> None:
        """Call *callback* with each generation that enters service or becomes the current one, after the change."""
        self._subscribers.append(callback)

    @property
    def default(self) -> IssuingCA:
        """The current CA for certificates whose policy names none."""
        return self._current[self._default]

    @property
    def current(self) -> Mapping[str, IssuingCA]:
        """The current generations by name."""
        return self._current

    def named(self, name: str) -> IssuingCA:
        """Return the current generation of that name.

        :raises NotFound: when none is configured.
        """
        issuer = self._current.get(name)
        if issuer is None:
            raise NotFound(f"there is no issuing CA named {name!r}; there are {', '.join(sorted(self._current))}")
        return issuer

    def all(self) -> list[IssuingCA]:
        """Return every generation in service; all answer OCSP requests and publish a CRL."""
        return [*self._current.values(), *self._next.values(), *self._others]

    def engines(self) -> list[ICertificateEngine]:
        """Return the engines that build certificates now, or after an announced switch."""
        issuing = (*self._current.values(), *self._next.values())
        return [issuer.engine for issuer in issuing if issuer.engine is not None]

    def generations(self, name: str, now: datetime) -> list[IssuingCA]:
        """Return the unexpired generations of that name, newest first; empty for an unknown name.

        An announced generation is included: a client that trusts it before the switch accepts its first certificate.
        """
        former = sorted(
            (other for other in self._others if other.name == name),
            key=lambda other: (other.certificate.not_before, other.id),
            reverse=True,
        )
        newest = (self._next.get(name), self._current.get(name), *former)
        return [issuer for issuer in newest if issuer is not None and issuer.certificate.not_after > now]

    def by_id(self, issuer_id: int) -> IssuingCA | None:
        """Return the generation with that row id, or None."""
        return next((issuer for issuer in self.all() if issuer.id == issuer_id), None)

    def by_key_identifier(self, key_identifier: bytes) -> IssuingCA | None:
        """Return the generation with that subjectKeyIdentifier, or None."""
        return next((issuer for issuer in self.all() if issuer.key_identifier == key_identifier), None)

    def add_other(self, issuer: IssuingCA) -> None:
        """Add a former generation, or the root, to those in service."""
        self._others.append(issuer)
        self._notify(issuer)

    def add_next(self, issuer: IssuingCA) -> None:
        """Announce the generation that will follow the current one of its name."""
        self._next[issuer.name] = issuer
        self._notify(issuer)

    def next(self, name: str) -> IssuingCA | None:
        """Return the announced generation of that name, or None."""
        return self._next.get(name)

    def withdraw_next(self, name: str) -> bool:
        """Take the generation that was announced out of service; return whether there was one."""
        if self._next.pop(name, None) is None:
            return False
        # What the subscribers hold of that name is to be made anew without it.
        self._notify(self._current[name])
        return True

    def switch_to(self, issuer: IssuingCA) -> None:
        """Make a generation the current one of its name; the previous one stays in service."""
        self._others = [other for other in self._others if other is not issuer]
        self._next.pop(issuer.name, None)
        former = self._current.get(issuer.name)
        if former is not None:
            self._others.append(former)
        self._current[issuer.name] = issuer
        self._notify(issuer)

    def renew(self, issuer: IssuingCA) -> None:
        """Put a generation into the place of the one with the same key, whose certificate it renews."""

        def renewed(one: IssuingCA) -> IssuingCA:
            return issuer if one.id == issuer.id else one

        self._current = {name: renewed(one) for name, one in self._current.items()}
        self._next = {name: renewed(one) for name, one in self._next.items()}
        self._others = [renewed(one) for one in self._others]
        self._notify(issuer)

    def _notify(self, issuer: IssuingCA) -> None:
        for callback in self._subscribers:
            try:
                callback(issuer)
            except Exception:  # noqa: BLE001 - the generation is in service, and the other subscribers must be notified
                log.failure("A subscriber failed after a change of the generations of {issuer}", issuer=issuer.name)
