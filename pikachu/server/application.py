"""Everything below HTTP, as ``pikachu.server.composition`` builds it; only the server and the commands hold it."""

from __future__ import annotations

from dataclasses import dataclass

from pikachu.accounts.account_certificates import Holdings
from pikachu.accounts.accounts import Accounts
from pikachu.accounts.batches import EnrollmentBatches
from pikachu.accounts.challenge_passwords import ChallengePasswords
from pikachu.accounts.drafts import Drafts
from pikachu.accounts.passkeys import PasskeyAdministration, PasskeySignIn
from pikachu.accounts.password_resets import PasswordResets
from pikachu.accounts.preferences import AccountPreferences
from pikachu.accounts.second_factors import SecondFactorAdministration
from pikachu.accounts.sessions import Sessions
from pikachu.accounts.sign_in_locks import SignInLocks
from pikachu.accounts.tokens import Tokens
from pikachu.auth.authenticator import Authenticator
from pikachu.auth.directory_accounts import DirectoryAccounts
from pikachu.auth.oidc.accounts import ProviderAccounts
from pikachu.auth.oidc.provider import Provider
from pikachu.ca.engine_recovery import EngineRecovery
from pikachu.ca.generations import Generations
from pikachu.ca.infrastructure import OwnCertificates
from pikachu.ca.issuance import CertificateAuthority
from pikachu.ca.issuers import IssuingCAs
from pikachu.ca.offline import OfflineCAs
from pikachu.ca.service_certificates import ServiceCertificates
from pikachu.config.configuration import Configuration
from pikachu.core.concurrency import WorkerPool
from pikachu.core.interfaces import IClock, IWorkerPool
from pikachu.core.sealing import Sealer
from pikachu.help.assistant import Assistant
from pikachu.help.guide import Guide
from pikachu.help.search import GuideSearch
from pikachu.inspection.service import Inspection
from pikachu.inventory.certificates import CertificateQueries
from pikachu.inventory.csrs import CertificateRequests
from pikachu.inventory.devices import Devices
from pikachu.inventory.identity_lists import IdentityLists
from pikachu.inventory.keys import Keys
from pikachu.inventory.new_certificates import NewCertificates
from pikachu.inventory.renewals import Renewals
from pikachu.inventory.templates import CertificateTemplates
from pikachu.operations.audit_verification import AuditVerification
from pikachu.operations.device_assignment import DeviceAssignment
from pikachu.operations.event_feed import EventFeed
from pikachu.operations.folder_import import FolderImport
from pikachu.operations.housekeeping import Housekeeping
from pikachu.operations.housekeeping_runs import HousekeepingRuns
from pikachu.operations.job_actions import JobActions
from pikachu.operations.job_runner import JobRunner
from pikachu.operations.jobs import Jobs
from pikachu.operations.quick_search import QuickSearch
from pikachu.operations.readiness import Readiness
from pikachu.operations.reports import Reports
from pikachu.operations.search_indexing import SearchIndexing
from pikachu.operations.server_dates import ServerDates
from pikachu.operations.server_view import ServerView
from pikachu.operations.setup_checklist import SetupChecklist
from pikachu.operations.statistics import Statistics
from pikachu.operations.transparency import TransparencyLog
from pikachu.ra.enrollment import EnrollmentService
from pikachu.ra.est import ESTRegistration
from pikachu.ra.policies import PolicyResolver
from pikachu.ra.policy_administration import PolicyAdministration
from pikachu.ra.registration_authority import RegistrationAuthority
from pikachu.ra.scep import SCEPRegistration
from pikachu.server.nodes import NodeParts
from pikachu.server.notice_parts import NoticeParts
from pikachu.server.vault_watch import VaultWatch
from pikachu.signers.ca_keys import CAKeys
from pikachu.storage.store import Store
from pikachu.va.broker_publisher import BrokerPublisher
from pikachu.va.ca_directory import CADirectory
from pikachu.va.crl_publisher import CRLPublisher
from pikachu.va.ocsp import CertificateStatusReader, OCSPResponder
from pikachu.va.revocation_recovery import RevocationRecovery
from pikachu.x509.certificate import Certificate


@dataclass(frozen=True, slots=True)
class Pools:
    """The worker pools for work that would block the reactor, one for each kind of work.

    :param signing: signatures that take longer than a hop to a thread.
    :param passwords: Argon2, which takes 30 ms and 64 MiB each.
    :param files: CRLs: assembling, hashing, writing.
    :param keys: making keys, which takes seconds, and what is done with those that people keep here: whoever makes
        many must not keep the CA from signing.
    :param server_keys: making keys for EST serverkeygen: neither the CA's signatures nor people's own keys wait for
        those of devices.
    :param inspection: decoding what people bring, which may wait for the openssl program.
    :param policies: reading and compiling the texts of policies.
    :param lint: sample certificates of policies, which pkilint may take seconds for.
    :param indexing: preparing the search texts of certificates of an earlier version.
    :param directory: waiting for the directory, which may hang.
    :param provider: calls of an OpenID Connect provider, which may hang.
    :param notices: mail servers and webhooks, which may hang.
    :param broker: connecting with the MQTT broker, which waits for the network.
    :param rotation: watching the files of issuing CAs, which waits for the disk, for key derivation and the database.
    :param token: calls of a PKCS#11 module, which may hang.
    :param vault: calls of Vault, which wait for the network.
    """

    signing: IWorkerPool
    passwords: IWorkerPool
    files: IWorkerPool
    keys: IWorkerPool
    server_keys: IWorkerPool
    inspection: IWorkerPool
    rotation: IWorkerPool
    policies: IWorkerPool
    lint: IWorkerPool
    indexing: IWorkerPool
    token: IWorkerPool
    vault: IWorkerPool
    directory: IWorkerPool
    provider: IWorkerPool
    broker: IWorkerPool
    notices: IWorkerPool

    def services(self) -> list[WorkerPool]:
        """Return the pools that start and stop with the server."""
        pools = (
            self.signing,
            self.passwords,
            self.files,
            self.keys,
            self.server_keys,
            self.inspection,
            self.rotation,
            self.policies,
            self.lint,
            self.indexing,
            self.token,
            self.vault,
            self.directory,
            self.provider,
            self.broker,
            self.notices,
        )
        return [pool for pool in pools if isinstance(pool, WorkerPool)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """RA, CA and VA with the objects that they use."""

    config: Configuration
    clock: IClock
    pools: Pools
    store: Store
    sealer: Sealer
    issuers: IssuingCAs
    authority: CertificateAuthority
    policies: PolicyResolver
    authenticator: Authenticator
    accounts: Accounts
    tokens: Tokens
    challenge_passwords: ChallengePasswords
    batches: EnrollmentBatches
    holdings: Holdings
    preferences: AccountPreferences
    sessions: Sessions
    drafts: Drafts
    second_factors: SecondFactorAdministration
    passkeys: PasskeyAdministration
    passkey_sign_in: PasskeySignIn
    password_resets: PasswordResets
    sign_in_locks: SignInLocks
    enrollment: EnrollmentService
    est: ESTRegistration
    scep: SCEPRegistration
    registration: RegistrationAuthority
    nodes: NodeParts
    credentials: ServiceCertificates
    responder: OCSPResponder
    publisher: CRLPublisher
    broker_publisher: BrokerPublisher | None
    recovery: RevocationRecovery
    statuses: CertificateStatusReader
    manufacturers: tuple[Certificate, ...]
    root: Certificate | None
    policy_administration: PolicyAdministration
    generations: Generations
    ca_keys: CAKeys
    vault: VaultWatch | None
    engine_recovery: EngineRecovery
    templates: CertificateTemplates
    statistics: Statistics
    readiness: Readiness
    event_feed: EventFeed
    inventory: CertificateQueries
    ca_directory: CADirectory
    keys: Keys
    requests: CertificateRequests
    new_certificates: NewCertificates
    renewals: Renewals
    devices: Devices
    identity_lists: IdentityLists
    verification: AuditVerification
    transparency: TransparencyLog
    folder_import: FolderImport
    housekeeping: Housekeeping
    housekeeping_runs: HousekeepingRuns
    notices: NoticeParts
    reports: Reports
    guide: Guide
    guide_search: GuideSearch
    assistant: Assistant
    inspection: Inspection
    operation: ServerView
    server_dates: ServerDates
    setup_checklist: SetupChecklist
    quick_search: QuickSearch
    jobs: Jobs
    job_actions: JobActions
    job_runner: JobRunner
    search_indexing: SearchIndexing
    device_assignment: DeviceAssignment
    own_certificates: OwnCertificates
    offline: OfflineCAs
    directory: DirectoryAccounts | None
    provider: Provider | None
    provider_accounts: ProviderAccounts | None
