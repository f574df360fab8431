"""A database in memory with accounts, and the services that authenticate them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pikachu.accounts.account_certificates import Holdings
from pikachu.accounts.accounts import Accounts, AccountSettings
from pikachu.accounts.challenge_passwords import ChallengePasswords
from pikachu.accounts.tokens import Tokens
from pikachu.auth.authenticator import Authenticator, account_principal
from pikachu.auth.client_certificate import ClientCertificateAuthenticator
from pikachu.auth.passwords import Argon2Parameters, PasswordHasher
from pikachu.auth.rate_limit import GuessLimits
from pikachu.ca.issuance import CertificateAuthority
from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.core.concurrency import ImmediatePool
from pikachu.core.interfaces import Begun
from pikachu.core.model.certificates import IssuerRecord, Method
from pikachu.core.model.events import Event, EventRecord
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, Account, AccountState, Principal, Role
from pikachu.core.model.requests import Intent, NewRequest
from pikachu.core.model.times import utc
from pikachu.core.sealing import Sealer
from pikachu.inventory.csrs import CertificateRequests
from pikachu.inventory.keys import Keys
from pikachu.inventory.templates import CertificateTemplates
from pikachu.signers.key import KeySigner
from pikachu.storage.store import Store, open_store
from pikachu.x509.certificate import Certificate, parse_certificate
from pikachu.x509.csr import parse_csr
from tests.support.deferreds import result_of
from tests.support.pki import DAY, Identity, make_ca, make_csr, make_leaf

P = ParamSpec("P")
T = TypeVar("T")

ADDRESS = "192.0.2.7"
#: A CSR with which challenge passwords are verified that are bound to no names.
ANY_CSR = parse_csr(make_csr()[1])
PASSWORD = "correct horse"
CHEAP = Argon2Parameters(time_cost=1, memory_cost=8, parallelism=1)


class CountingPool:
    """Runs the work at once and keeps what it was given."""

    def __init__(self) -> None:
        self.work: list[tuple[object, ...]] = []

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        self.work.append(args)
        return ImmediatePool().run(work, *args, **kwargs)


class HeldPool:
    """Does the work when it is let go."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[None]] = []

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        go: Deferred[None] = Deferred()
        self.waiting.append(go)
        return go.addCallback(lambda _: work(*args, **kwargs))


@dataclass
class World:
    """The store, the clock, and what works on them.

    :ivar pool: where passwords are hashed.
    :ivar anchors: certificates of ``client_ca``; a test may add some.
    """

    clock: Clock
    store: Store
    sealer: Sealer
    pool: CountingPool
    hasher: PasswordHasher
    authenticator: Authenticator
    certificates: ClientCertificateAuthenticator
    accounts: Accounts
    tokens: Tokens
    challenge_passwords: ChallengePasswords
    ca: Identity
    issuer: IssuerRecord
    anchors: list[Certificate] = field(default_factory=list)

    @property
    def now(self) -> datetime:
        """Return the time of the clock."""
        return utc(self.clock.seconds())

    @property
    def requests(self) -> CertificateRequests:
        """The operations on stored requests."""
        pool = ImmediatePool()
        signer = KeySigner(self.ca.key, self.ca.der, (self.ca.der,), pool)
        keys = Keys(self.store, self.sealer, IssuingCAs("ec", {"ec": IssuingCA(self.issuer, signer)}), pool, self.clock)
        templates = CertificateTemplates(self.store, self.clock, pool)
        return CertificateRequests(self.store, keys, templates, pool, self.clock)

    def add(
        self, username: str, role: Role = Role.USER, state: AccountState = AccountState.ACTIVE, password: str = PASSWORD
    ) -> Account:
        """A new account."""
        return result_of(
            self.accounts.add_user(SYSTEM, username, f"{username.lower()}@example.com", role, state, password)
        )

    def as_person(self, account: Account) -> Principal:
        """Return the principal of *account* when signed in."""
        return account_principal(account, ADDRESS)

    def events(self, type_: str | None = None) -> list[EventRecord]:
        """Return the recorded events, the oldest first."""
        filters = {} if type_ is None else {"type": type_}
        return list(result_of(self.store.events(ListQuery(limit=1000, sort="id", filters=filters))).items)

    def record(self, leaf: Identity, owner_id: int | None = None) -> int:
        """Store *leaf* as one that was issued here; its id."""
        certificate = parse_certificate(leaf.der)
        # One key each, since a key belongs to one owner.
        key_id = certificate.key_identifier
        request = NewRequest(
            Method.EST, b"csr", "CN=x", "EC/prime256v1", key_id, "default", "ec", "test", owner_id, self.now
        )
        intent = Intent(
            certificate.serial,
            self.issuer.id,
            certificate.tbs,
            "CN=x",
            "x",
            "EC/prime256v1",
            key_id,
            certificate.not_before,
            certificate.not_after,
            "default",
            "test",
        )
        begun = result_of(self.store.begin(request, intent, self.now))
        assert isinstance(begun, Begun)
        event = Event("create", "certificate", "x", "test")
        return result_of(self.store.complete(begun.request_id, leaf.der, Method.EST, event, self.now)).id

    def issue(
        self,
        *,
        owner_id: int | None = None,
        days: int = 30,
        purposes: Sequence[x509.ObjectIdentifier] | None = None,
    ) -> Identity:
        """A certificate that was issued here, valid from now on."""
        until = self.now + days * DAY
        if purposes is None:
            leaf = make_leaf(self.ca, not_before=self.now, not_after=until)
        else:
            leaf = make_leaf(self.ca, not_before=self.now, not_after=until, purposes=purposes)
        self.record(leaf, owner_id)
        return leaf


def holdings_of(store: Store, clock: Clock) -> Holdings:
    """Return what revokes an account's certificates in *store*."""
    ca = make_ca(name="Test issuing CA")
    record = IssuerRecord(1, "ec", ca.key_identifier, ca.der, utc(clock.seconds()))
    issuer = IssuingCA(record, KeySigner(ca.key, ca.der, (ca.der,), ImmediatePool()))
    return Holdings(
        store=store, authority=CertificateAuthority(clock, store, IssuingCAs("ec", {"ec": issuer}), "test"), clock=clock
    )


def certificate_of(identity: Identity) -> Certificate:
    """The certificate of *identity* as the program reads it."""
    return parse_certificate(identity.certificate.public_bytes(Encoding.DER))


def make_world(settings: AccountSettings | None = None, limits: Callable[[Clock], GuessLimits] = GuessLimits) -> World:
    """A world without people, at a moment within the validity of its CA."""
    clock = Clock()
    ca = make_ca(name="Test issuing CA")
    # The CA's validity begins a day before the real time, at which it was made.
    clock.advance((ca.certificate.not_valid_before_utc + timedelta(hours=12)).timestamp())
    store = open_store("sqlite://")
    sealer = Sealer(b"k" * 32)
    pool = CountingPool()
    hasher = PasswordHasher(pool, clock, CHEAP)
    issuer = store.register_issuer("ec", ca.key_identifier, ca.der, utc(clock.seconds()))
    anchors: list[Certificate] = []
    certificates = ClientCertificateAuthenticator(store, lambda: [(issuer, certificate_of(ca))], lambda: anchors, clock)
    authenticator = Authenticator(
        store,
        hasher,
        certificates,
        limits(clock),
        sealer,
        clock,
    )
    accounts = Accounts(
        store=store,
        hasher=hasher,
        clock=clock,
        settings=settings or AccountSettings(),
        holdings=holdings_of(store, clock),
    )
    return World(
        clock,
        store,
        sealer,
        pool,
        hasher,
        authenticator,
        certificates,
        accounts,
        Tokens(store=store, clock=clock),
        ChallengePasswords(store=store, sealer=sealer, clock=clock),
        ca,
        issuer,
        anchors,
    )
