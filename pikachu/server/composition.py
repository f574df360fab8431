"""Builds the application from a configuration, for the server and for each command of ``pikachu``.

Everything here that can fail does so at once, with a ConfigError of one line, before anything listens.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from pikachu.accounts.account_certificates import Holdings
from pikachu.accounts.accounts import Accounts, AccountSettings
from pikachu.accounts.batches import EnrollmentBatches
from pikachu.accounts.challenge_passwords import ChallengePasswords
from pikachu.accounts.preferences import AccountPreferences
from pikachu.accounts.tokens import Tokens
from pikachu.auth.authenticator import Authenticator
from pikachu.auth.client_certificate import ClientCertificateAuthenticator
from pikachu.auth.oidc.accounts import ProviderAccounts
from pikachu.auth.passwords import Argon2Parameters, PasswordHasher
from pikachu.ca.engine_recovery import EngineRecovery
from pikachu.ca.infrastructure import OwnCertificates
from pikachu.ca.issuance import CertificateAuthority
from pikachu.ca.offline import OfflineCAs
from pikachu.ca.service_certificates import ServiceCertificates
from pikachu.config.configuration import Configuration
from pikachu.config.features import require_features
from pikachu.config.setting_choices import ForeignIssuer
from pikachu.config.setting_types import Secret
from pikachu.core.concurrency import ImmediatePool, IThreadCaller, WorkerPool
from pikachu.core.errors import ConfigError, PikachuError, SecretKeyChanged
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.times import utc
from pikachu.core.sealing import Sealer
from pikachu.help.assistant import Assistant
from pikachu.help.guide import Guide
from pikachu.inspection.openssl_program import OpenSSL
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
from pikachu.operations.job_actions import JobActions
from pikachu.operations.job_exports import JobExports
from pikachu.operations.quick_search import QuickSearch
from pikachu.operations.readiness import Readiness
from pikachu.operations.readiness_checks import DatabaseProbes, ServerChecks, engine_checks, key_source_checks
from pikachu.operations.rekey import next_file, open_sealed
from pikachu.operations.reports import Reports
from pikachu.operations.search_indexing import SearchIndexing
from pikachu.operations.server_dates import ServerDates, ServerFiles
from pikachu.operations.server_view import ServerView
from pikachu.operations.setup_checklist import SetupChecklist
from pikachu.operations.statistics import Statistics
from pikachu.ra.default_policy import DefaultPolicyFiles
from pikachu.ra.enrollment import EnrollmentService, EnrollmentSettings
from pikachu.ra.est import ESTRegistration, ESTSettings
from pikachu.ra.policies import PolicyResolver
from pikachu.ra.policy_administration import PolicyAdministration
from pikachu.ra.registration_authority import RegistrationAuthority
from pikachu.ra.scep import SCEPRegistration
from pikachu.server.application import Application, Pools
from pikachu.server.ca_loading import load_generations, load_offline_cas, load_root, load_root_certificate
from pikachu.server.directory import build_directory, build_provider, directory_check
from pikachu.server.jobs import build_jobs
from pikachu.server.key_sources import key_sources
from pikachu.server.nodes import build_node_parts
from pikachu.server.sign_in import build_sign_in
from pikachu.server.vault_watch import VaultWatch
from pikachu.signers.ca_keys import CAKeys, KeySource
from pikachu.signers.files import load_trust_anchors
from pikachu.signers.key_files import check_permissions, read_file
from pikachu.signers.vault.source import VaultKeys
from pikachu.signers.vault.transit_keys import SCHEME as VAULT
from pikachu.storage.settings import StoreSettings
from pikachu.storage.store import Store, open_store
from pikachu.va.ca_directory import CADirectory
from pikachu.va.crl_files import CRLSettings
from pikachu.va.crl_publisher import CRLPublisher
from pikachu.va.ocsp import CertificateStatusReader, OCSPResponder, OCSPSettings
from pikachu.va.revocation_recovery import RevocationRecovery
from pikachu.x509.certificate import Certificate

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SafetySettings:
    """Protection against guessing and power cuts, and the store; tests choose faster or failing ones.

    :param argon2: the cost of new password hashes.
    :param fsync: whether a commit to a file waits for the disk.
    :param open_store: opens the database, with the arguments of :func:`pikachu.storage.store.open_store`.
    :param key_sources: returns what keeps keys outside of files, by the scheme of references to them.
    """

    argon2: Argon2Parameters = field(default_factory=Argon2Parameters)
    fsync: bool = True
    open_store: Callable[..., Store] = open_store
    key_sources: Callable[[Configuration, Pools, IClock, Warn], Mapping[str, KeySource]] = key_sources


def threaded_pools(reactor: IThreadCaller) -> Pools:
    """Return the server's pools."""
    processors = os.cpu_count() or 1
    return Pools(
        WorkerPool("signing", reactor, processors, queue=2000),
        WorkerPool("passwords", reactor, max(1, processors // 2), queue=200),
        WorkerPool("files", reactor, 2, queue=100),
        WorkerPool("keys", reactor, max(1, processors // 2), queue=50),
        # An RSA-4096 key takes half a second or more, and devices give up after some ten seconds.
        WorkerPool("server-keys", reactor, max(1, processors // 2), queue=20),
        WorkerPool("inspection", reactor, 2, queue=20),
        WorkerPool("rotation", reactor, 1, queue=10),
        WorkerPool("policies", reactor, 1, queue=200),
        WorkerPool("indexing", reactor, 1, queue=1),
        WorkerPool("token", reactor, 4, queue=500, max_lost=8),
        WorkerPool("vault", reactor, 8, queue=500, max_lost=8),
        WorkerPool("directory", reactor, 4, queue=100, max_lost=4),
        WorkerPool("provider", reactor, 4, queue=50, max_lost=4),
    )


def immediate_pools() -> Pools:
    """Return pools for commands, which run everything at once."""
    pool = ImmediatePool()
    return Pools(*[pool] * len(fields(Pools)))


def database_url(config: Configuration) -> str:
    """Return the SQLAlchemy URL of the database."""
    if config.database.url is not None:
        return config.database.url.reveal()
    return f"sqlite:///{config.paths.db_path}"


def secret_key(config: Configuration, warn: Warn) -> bytes:
    """Return SECRET_KEY, from the configuration or its file.

    :raises ConfigError: when the file is missing, too short, or readable by others, or is being replaced.
    """
    source = config.secret_key_source
    if isinstance(source, Path) and next_file(source).exists():
        raise ConfigError(
            f"[DEFAULT] secret_key_file: {next_file(source)} is there: `pikachu rekey` is at work or was interrupted; "
            "run it again to complete it"
        )
    return present_secret_key(config, warn)


def unlock(store: Store, sealer: Sealer, now: datetime, warn: Warn) -> None:
    """Open the key of the audit log, and warn when stored values were sealed under another SECRET_KEY."""
    with suppress(SecretKeyChanged):
        store.unlock(sealer, now)
    for value in store.newest_sealed():
        try:
            open_sealed(sealer, value)
        except SecretKeyChanged:
            warn(
                f"[DEFAULT] SECRET_KEY: a stored {value.kind} was sealed under another one and can't be used; put that "
                "one back (`pikachu rekey` changes it without losing a key)"
            )


def present_secret_key(config: Configuration, warn: Warn) -> bytes:
    """Return SECRET_KEY even while `pikachu rekey` is replacing it.

    :raises ConfigError: when the file is missing, too short, or readable by others.
    """
    source = config.secret_key_source
    if isinstance(source, Secret):
        return source.reveal().encode()
    setting = "[DEFAULT] secret_key_file"
    content = read_file(source, setting).strip()
    check_permissions(source, setting, config.ca.key_permissions.value, warn)
    if len(content) < 16:
        raise ConfigError(f"{setting}: {source} holds fewer than 16 characters; remove it and run `pikachu init`")
    return content


def check_folders(config: Configuration) -> None:
    """Check that the configured folders can be written.

    Nothing is made here: twistd may be about to become another user.

    :raises ConfigError: one line for the first folder that can't be written.
    """
    folders = [("[PATHS] crl_path", config.paths.crl_path.parent)]
    if config.paths.crl_dir is not None:
        folders.append(("[PATHS] crl_dir", config.paths.crl_dir))
    if config.scep.enabled and config.scep.dump_dir is not None:
        folders.append(("[SCEP] dump_dir", config.scep.dump_dir))
    for setting, folder in folders:
        nearest = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
        if not nearest.is_dir():
            raise ConfigError(f"{setting}: {nearest} is not a folder; remove it, or name another one")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise ConfigError(f"{setting}: {nearest} can't be written; mend its owner or mode, or name another folder")


def growing_folders(config: Configuration) -> dict[str, Path]:
    """Return the folders whose disk may fill up, by what they hold."""
    folders = {"the CRLs": config.paths.crl_dir or config.paths.crl_path.parent}
    if config.database.url is None:
        folders["the database"] = config.paths.db_path.parent
    if config.logging.log_file is not None:
        folders["the log"] = config.logging.log_file.parent
    return folders


def load_manufacturers(config: Configuration) -> tuple[Certificate, ...]:
    """Load the further CAs of ``client_ca``: a file, or all files of a folder.

    :raises ConfigError: when one can't be read.
    """
    path = config.trusted_https.client_ca
    setting = "[TRUSTED_HTTPS] client_ca"
    if path is None:
        return ()
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.suffix in {".pem", ".crt", ".cer", ".der"})
        return tuple(certificate for one in files for certificate in load_trust_anchors(one, setting))
    return tuple(load_trust_anchors(path, setting))


def https_certificates(config: Configuration) -> list[Path]:
    """Return the certificate files of the HTTPS listeners that are on."""
    https, trusted = config.https, config.trusted_https
    files = (https.ssl_cert if https.port else None, trusted.trusted_ssl_cert if trusted.trusted_port else None)
    return [path for path in files if path is not None]


def build(
    config: Configuration,
    clock: IClock,
    pools: Pools,
    reactor: IThreadCaller | None,
    process: str,
    warn: Warn,
    safety: SafetySettings | None = None,
) -> Application:
    """Open the database, load the keys, and build the application.

    :param reactor: whose threads the database works in; ``None``: in the caller's own.
    :param process: names who signs, in stored intents.
    :param warn: told of what works but should be mended.
    :raises ConfigError: one line.
    """
    chosen = safety or SafetySettings()
    opened: list[Store] = []

    def open_database() -> Store:
        store = chosen.open_store(
            database_url(config),
            reactor,
            fsync=chosen.fsync,
            quotas=config.limits.quotas,
            settings=StoreSettings(busy_seconds=config.database.timeout),
        )
        opened.append(store)
        return store

    try:
        return _assemble(config, clock, pools, open_database, process, warn, chosen)
    except BaseException:
        # Nobody is given the store, so nobody else could close it.
        for store in opened:
            store.database.close()
        raise


class Registration(NamedTuple):
    """The registration authority for each kind of client, over one enrollment service."""

    enrollment: EnrollmentService
    est: ESTRegistration
    scep: SCEPRegistration
    accounts: RegistrationAuthority


def build_registration(
    config: Configuration,
    store: IStore,
    authority: CertificateAuthority,
    policies: PolicyResolver,
    authenticator: Authenticator,
) -> Registration:
    """Build the enrollment service and the registration authorities that use it."""
    service = EnrollmentService(
        store=store,
        authority=authority,
        policies=policies,
        settings=EnrollmentSettings(config.ca.public_url, config.est.retry_after),
    )
    est = ESTRegistration(
        service=service,
        authenticator=authenticator,
        policies=policies,
        issuers=authority.issuers,
        settings=ESTSettings(config.est.anonymous_enroll, config.est.require_linking),
    )
    scep = SCEPRegistration(
        service=service,
        authenticator=authenticator,
        policies=policies,
        store=store,
        require_challenge=config.scep.challenge_password_enabled,
    )
    accounts = RegistrationAuthority(service=service, store=store, authority=authority, policies=policies)
    return Registration(service, est, scep, accounts)


def watch_vault(keys: CAKeys, store: Store, clock: IClock) -> VaultWatch | None:
    """Return what follows Vault's availability, or None when no key is in Vault."""
    source = keys.sources.get(VAULT)
    return VaultWatch(source, store, clock) if isinstance(source, VaultKeys) else None


def _assemble(
    config: Configuration,
    clock: IClock,
    pools: Pools,
    open_database: Callable[[], Store],
    process: str,
    warn: Warn,
    chosen: SafetySettings,
) -> Application:
    require_features(config)
    keys = CAKeys(config.ca.key_permissions.value, chosen.key_sources(config, pools, clock, warn))
    sealer = Sealer(secret_key(config, warn))
    manufacturers = load_manufacturers(config)
    store = open_database()
    try:
        unlock(store, sealer, utc(clock.seconds()), warn)
        generations, issuers = load_generations(config, keys, store, pools, clock, warn)
        root_certificate = load_root_certificate(config, issuers)
        root = load_root(config, keys, root_certificate, store, pools.signing, clock, warn)
        if root is not None:
            issuers.add_other(root)
        own_certificates = OwnCertificates(
            store, issuers, generations, root_certificate, https_certificates(config), clock, warn
        )
        own_certificates.register()
        parents = load_offline_cas(issuers, store, clock)
    except PikachuError as error:
        raise ConfigError(f"the database: {error.public}") from error
    authority = CertificateAuthority(clock, store, issuers, process)
    policy_files = DefaultPolicyFiles(config.paths.server_ext_cfg, config.paths.validity_conf)
    policies = PolicyResolver(store, policy_files, clock, pools.policies)
    hasher = PasswordHasher(pools.passwords, clock, chosen.argon2)
    directory = build_directory(config, store, pools, clock)
    provider = build_provider(config, pools, clock)
    nodes = build_node_parts(store, clock, sealer, process)
    authenticator = Authenticator(
        store,
        hasher,
        ClientCertificateAuthenticator(
            store,
            lambda: [(issuer.record, issuer.certificate) for issuer in issuers.all()],
            lambda: manufacturers,
            clock,
        ),
        nodes.guess_limits,
        sealer,
        clock,
        directory,
        require_second_factor=config.default.require_second_factor,
    )
    holdings = Holdings(store=store, authority=authority, clock=clock)
    accounts = Accounts(
        store=store,
        hasher=hasher,
        clock=clock,
        settings=AccountSettings(
            password_min_length=config.default.password_min_length,
            auto_approve=config.default.auto_approve,
            directory_assigns_roles=directory is not None and bool(config.ldap.admin_group),
        ),
        holdings=holdings,
    )
    registration = build_registration(config, store, authority, policies, authenticator)
    credentials = ServiceCertificates(store, authority, sealer, pools.signing, nodes.is_leader)
    offline = OfflineCAs(store, parents, credentials, sealer, clock)
    responder = OCSPResponder(
        clock,
        store,
        issuers,
        credentials,
        OCSPSettings(
            validity=config.ocsp.ocsp_validity,
            delegated=config.ocsp.ocsp_delegated,
            foreign_unknown=config.ocsp.foreign_issuer is ForeignIssuer.UNKNOWN,
            cache_bytes=config.ocsp.cache_size,
        ),
        offline,
    )
    recovery = RevocationRecovery(clock, store, pools.files)
    publisher = CRLPublisher(
        clock,
        store,
        issuers,
        pools.files,
        CRLSettings(
            validity=config.crl.crl_validity,
            delay=config.crl.crl_delay,
            folder=config.paths.crl_dir or config.paths.crl_path.parent,
            broker_path=config.paths.crl_path,
        ),
        recovery,
        shared=nodes.shared_crls,
        is_leader=nodes.is_leader,
    )
    # What follows from a change, of this process or of another.
    store.subscribe(credentials.forget)
    store.subscribe(responder.forget)
    store.subscribe(publisher.changed)
    store.subscribe(own_certificates.changed)
    publisher.uploads.subscribe(offline.apply_crl)
    issuers.subscribe(responder.generation_changed)
    issuers.subscribe(publisher.generation_changed)
    issuers.subscribe(own_certificates.generation_changed)
    statistics = Statistics(store, clock)
    checks = ServerChecks(
        clock=clock,
        database=DatabaseProbes(store.check, store.check_write, store.sealed_samples),
        sealer=sealer,
        issuers=issuers,
        credentials=credentials,
        responder=responder if config.ocsp.enabled else None,
        publisher=publisher,
        recovery=recovery,
        signing=pools.signing,
        files=pools.files,
        folders=growing_folders(config),
        min_free_bytes=config.default.min_free_space,
    )
    more_checks = key_source_checks(keys.sources) | engine_checks(issuers) | directory_check(directory)
    readiness = Readiness(clock, {**checks.standing(), **more_checks}, checks.of_issuers)
    guide = Guide()
    stored_keys = Keys(store, sealer, issuers, pools.keys, clock)
    templates = CertificateTemplates(store, clock, pools.files)
    inventory = CertificateQueries(store, authority)
    requests = CertificateRequests(store, stored_keys, templates, pools.keys, clock)
    challenge_passwords = ChallengePasswords(
        store=store, sealer=sealer, clock=clock, validity=timedelta(seconds=config.scep.challenge_password_validity)
    )
    new_certificates = NewCertificates(
        registration=registration.accounts, keys=stored_keys, store=store, pool=pools.keys
    )
    renewals = Renewals(new_certificates=new_certificates, inventory=inventory, keys=stored_keys, issuers=issuers)
    devices = Devices(store=store, authority=authority, challenge_passwords=challenge_passwords)
    tokens = Tokens(store=store, clock=clock)
    policy_administration = PolicyAdministration(
        store=store, policies=policies, issuers=issuers, clock=clock, public_url=config.ca.public_url
    )
    job_actions = JobActions(
        inventory=inventory,
        renewals=renewals,
        registration=registration.accounts,
        keys=stored_keys,
        requests=requests,
        templates=templates,
        challenge_passwords=challenge_passwords,
        accounts=accounts,
        policies=policy_administration,
        tokens=tokens,
        exports=JobExports(
            store=store,
            inventory=inventory,
            issuers=issuers,
            keys=stored_keys,
            requests=requests,
            challenge_passwords=challenge_passwords,
            accounts=accounts,
            clock=clock,
        ),
        devices=devices,
    )
    verification = AuditVerification(store, clock)
    jobs, job_runner = build_jobs(store, clock, nodes.is_leader, job_actions)
    return Application(
        config=config,
        clock=clock,
        pools=pools,
        store=store,
        sealer=sealer,
        issuers=issuers,
        authority=authority,
        policies=policies,
        authenticator=authenticator,
        accounts=accounts,
        tokens=tokens,
        challenge_passwords=challenge_passwords,
        batches=EnrollmentBatches(store=store, sealer=sealer, clock=clock, policies=policies, pool=pools.inspection),
        holdings=holdings,
        preferences=AccountPreferences(store=store, clock=clock),
        **build_sign_in(
            store=store,
            authenticator=authenticator,
            accounts=accounts,
            limits=nodes.guess_limits,
            sealer=sealer,
            clock=clock,
            maximum_idle=config.default.max_idle_time,
        ),
        enrollment=registration.enrollment,
        est=registration.est,
        scep=registration.scep,
        registration=registration.accounts,
        nodes=nodes,
        credentials=credentials,
        responder=responder,
        publisher=publisher,
        recovery=recovery,
        statuses=CertificateStatusReader(clock, store),
        manufacturers=manufacturers,
        root=root_certificate,
        policy_administration=policy_administration,
        generations=generations,
        engine_recovery=EngineRecovery(authority, store),
        vault=watch_vault(keys, store, clock),
        ca_keys=keys,
        templates=templates,
        statistics=statistics,
        readiness=readiness,
        event_feed=EventFeed(store, statistics, clock),
        inventory=inventory,
        ca_directory=CADirectory(
            store=store,
            issuers=issuers,
            generations=generations,
            publisher=publisher,
            root=root_certificate,
            pool=pools.files,
            clock=clock,
            offline=offline,
            scep_ca=issuers.current.get("rsa", issuers.default).name if config.scep.enabled else None,
        ),
        keys=stored_keys,
        requests=requests,
        new_certificates=new_certificates,
        renewals=renewals,
        devices=devices,
        identity_lists=IdentityLists(store=store, clock=clock, pool=pools.inspection),
        verification=verification,
        reports=Reports(
            store=store,
            inventory=inventory,
            issuers=issuers,
            verification=verification,
            clock=clock,
            pool=pools.files,
        ),
        guide=guide,
        assistant=Assistant(
            guide=guide,
            statistics=statistics,
            readiness=readiness,
            issuers=issuers,
            inventory=inventory,
            clock=clock,
        ),
        inspection=Inspection(clock, store, pools.inspection, OpenSSL()),
        operation=ServerView(config, pools.files),
        server_dates=ServerDates(
            issuers=issuers,
            root=root_certificate,
            credentials=credentials,
            publisher=publisher,
            files=ServerFiles(https_certificates(config), growing_folders(config)),
            pool=pools.files,
            clock=clock,
        ),
        quick_search=QuickSearch(inventory=inventory, devices=devices, accounts=accounts, guide=guide),
        setup_checklist=SetupChecklist(store=store, config=config, clock=clock),
        jobs=jobs,
        job_actions=job_actions,
        job_runner=job_runner,
        search_indexing=SearchIndexing(store, pools.indexing),
        device_assignment=DeviceAssignment(store, clock),
        own_certificates=own_certificates,
        offline=offline,
        directory=directory,
        provider=provider,
        provider_accounts=None
        if provider is None
        else ProviderAccounts(store=store, settings=config.oidc, clock=clock),
    )
