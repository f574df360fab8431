"""Builds the application from a configuration, for the server and for each command of ``pikachu``.

Everything here that can fail does so at once, with a ConfigError of one line, before anything listens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

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
from pikachu.core.chat_interfaces import IChatModel
from pikachu.core.concurrency import IReactor, IThreadCaller
from pikachu.core.errors import ConfigError, PikachuError, SecretKeyChanged
from pikachu.core.interfaces import IClock
from pikachu.core.lint_interfaces import ICertificateLinter
from pikachu.core.model.times import utc
from pikachu.core.revocation_message_interfaces import IBroker
from pikachu.core.sealing import Sealer
from pikachu.help.assistant import Assistant
from pikachu.help.guide import Guide
from pikachu.help.search import GuideSearch
from pikachu.help.tools import Tools
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
from pikachu.lint.linter import installed_linter
from pikachu.operations.audit_verification import AuditVerification
from pikachu.operations.device_assignment import DeviceAssignment
from pikachu.operations.event_feed import EventFeed
from pikachu.operations.folder_import import FolderImport
from pikachu.operations.housekeeping import Housekeeping
from pikachu.operations.housekeeping_runs import HousekeepingRuns
from pikachu.operations.job_actions import JobActions
from pikachu.operations.job_exports import JobExports
from pikachu.operations.node_checks import NodeChecks
from pikachu.operations.profile_import import ProfileImport
from pikachu.operations.quick_search import QuickSearch
from pikachu.operations.readiness import Readiness
from pikachu.operations.readiness_checks import DatabaseProbes, ServerChecks, engine_checks, key_source_checks
from pikachu.operations.rekey import open_sealed
from pikachu.operations.reports import Reports
from pikachu.operations.search_indexing import SearchIndexing
from pikachu.operations.server_dates import ServerDates, ServerFiles
from pikachu.operations.server_view import ServerView
from pikachu.operations.setup_checklist import SetupChecklist
from pikachu.operations.statistics import Statistics
from pikachu.operations.transparency import CheckpointSettings, TransparencyLog
from pikachu.ra.default_policy import DefaultPolicyFiles
from pikachu.ra.policies import PolicyResolver
from pikachu.ra.policy_administration import PolicyAdministration
from pikachu.ra.policy_lint import PolicyLint
from pikachu.server.application import Application, Pools
from pikachu.server.broker import broker_check, build_broker, publisher_settings
from pikachu.server.ca_loading import load_generations, load_offline_cas, load_root, load_root_certificate
from pikachu.server.chat import build_chat_model, build_composer
from pikachu.server.directory import build_directory, build_provider, directory_check
from pikachu.server.files import (
    Warn,
    database_url,
    growing_folders,
    https_certificates,
    load_manufacturers,
    secret_key,
)
from pikachu.server.housekeeping import housekeeping_settings
from pikachu.server.jobs import build_jobs
from pikachu.server.key_sources import key_sources
from pikachu.server.nodes import build_node_parts
from pikachu.server.notices import build_notices
from pikachu.server.registration import build_registration
from pikachu.server.sign_in import build_sign_in
from pikachu.server.vault_watch import VaultWatch
from pikachu.signers.ca_keys import CAKeys, KeySource
from pikachu.signers.vault.source import VaultKeys
from pikachu.signers.vault.transit_keys import SCHEME as VAULT
from pikachu.storage.settings import StoreSettings
from pikachu.storage.store import Store, open_store
from pikachu.va.broker_publisher import BrokerPublisher
from pikachu.va.ca_directory import CADirectory
from pikachu.va.crl_files import CRLSettings
from pikachu.va.crl_publisher import CRLPublisher
from pikachu.va.ocsp import CertificateStatusReader, OCSPResponder, OCSPSettings
from pikachu.va.revocation_recovery import RevocationRecovery
from pikachu.x509.distribution_points import DistributionPoints


@dataclass(frozen=True, slots=True)
class SafetySettings:
    """Protection against guessing and power cuts, and the store; tests choose faster or failing ones.

    :param argon2: the cost of new password hashes.
    :param fsync: whether a commit to a file waits for the disk.
    :param open_store: opens the database, with the arguments of :func:`pikachu.storage.store.open_store`.
    :param broker: returns the connection with the MQTT broker, or None.
    :param chat_model: returns the client of the language model, or None.
    :param linter: returns the linter of another project, or None when none is installed.
    :param key_sources: returns what keeps keys outside of files, by the scheme of references to them.
    """

    argon2: Argon2Parameters = field(default_factory=Argon2Parameters)
    fsync: bool = True
    open_store: Callable[..., Store] = open_store
    key_sources: Callable[[Configuration, Pools, IClock, Warn], Mapping[str, KeySource]] = key_sources
    broker: Callable[[Configuration, Pools, IThreadCaller | None, IClock], IBroker | None] = build_broker
    chat_model: Callable[[Configuration, Pools, IThreadCaller | None], IChatModel | None] = build_chat_model
    linter: Callable[[], ICertificateLinter | None] = installed_linter


@dataclass(frozen=True, slots=True)
class _Connections:
    """The connections of an application."""

    open_database: Callable[[], Store]
    broker: IBroker | None
    chat_model: IChatModel | None


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


def build(
    config: Configuration,
    clock: IClock,
    pools: Pools,
    reactor: IReactor | None,
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
        broker = chosen.broker(config, pools, reactor, clock)
        chat_model = chosen.chat_model(config, pools, reactor)
        return _assemble(config, clock, pools, _Connections(open_database, broker, chat_model), process, warn, chosen)
    except BaseException:
        # Nobody is given the store, so nobody else could close it.
        for store in opened:
            store.database.close()
        raise


def watch_vault(keys: CAKeys, store: Store, clock: IClock) -> VaultWatch | None:
    """Return what follows Vault's availability, or None when no key is in Vault."""
    source = keys.sources.get(VAULT)
    return VaultWatch(source, store, clock) if isinstance(source, VaultKeys) else None


def _assemble(
    config: Configuration,
    clock: IClock,
    pools: Pools,
    connections: _Connections,
    process: str,
    warn: Warn,
    chosen: SafetySettings,
) -> Application:
    require_features(config)
    keys = CAKeys(config.ca.key_permissions.value, chosen.key_sources(config, pools, clock, warn))
    sealer = Sealer(secret_key(config, warn))
    manufacturers = load_manufacturers(config)
    store = connections.open_database()
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
    points = DistributionPoints(config.ca.public_url, config.crl.shards or 0, delta=config.crl.delta_in_certificates)
    authority = CertificateAuthority(clock, store, issuers, process, points)
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
            directory_assigns_roles=directory is not None and bool(config.ldap.role_groups),
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
            delta=config.crl.delta,
            shards=config.crl.shards or 0,
            public_url=config.ca.public_url,
        ),
        recovery,
        shared=nodes.shared_crls,
        is_leader=nodes.is_leader,
    )
    broker_publisher = None
    if connections.broker is not None:
        broker_publisher = BrokerPublisher(
            clock=clock,
            store=store,
            issuers=issuers,
            credentials=credentials,
            crls=publisher,
            broker=connections.broker,
            pool=pools.files,
            settings=publisher_settings(config),
            is_leader=nodes.is_leader,
        )
        store.subscribe(broker_publisher.changed)
        publisher.subscribe(broker_publisher.crl_published)
        issuers.subscribe(broker_publisher.generation_changed)
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
    node_checks = NodeChecks(store=store, issuers=issuers, files=generations, clock=clock)
    more_checks = (
        key_source_checks(keys.sources)
        | engine_checks(issuers)
        | directory_check(directory)
        | broker_check(broker_publisher)
        | node_checks.checks()
    )
    readiness = Readiness(clock, {**checks.standing(), **more_checks}, checks.of_issuers)
    guide = Guide()
    guide_search = GuideSearch(guide, pools.files)
    ca_directory = CADirectory(
        store=store,
        issuers=issuers,
        generations=generations,
        publisher=publisher,
        root=root_certificate,
        pool=pools.files,
        clock=clock,
        offline=offline,
        scep_ca=issuers.current.get("rsa", issuers.default).name if config.scep.enabled else None,
    )
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
    tools = Tools(
        statistics=statistics,
        readiness=readiness,
        issuers=issuers,
        ca_directory=ca_directory,
        inventory=inventory,
        devices=devices,
        clock=clock,
    )
    tokens = Tokens(store=store, clock=clock)
    policy_administration = PolicyAdministration(
        store=store,
        policies=policies,
        issuers=issuers,
        clock=clock,
        policy_lint=PolicyLint(
            issuers=issuers,
            clock=clock,
            pool=pools.lint,
            linter=chosen.linter(),
            public_url=config.ca.public_url,
        ),
        public_url=config.ca.public_url,
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
            templates=templates,
            clock=clock,
        ),
        devices=devices,
    )
    transparency = TransparencyLog(
        store=store,
        clock=clock,
        files=pools.files,
        is_leader=nodes.is_leader,
        settings=CheckpointSettings(config.audit.checkpoint_dir, config.audit.checkpoint_interval),
    )
    verification = AuditVerification(store, transparency, clock)
    dates = ServerDates(
        issuers=issuers,
        root=root_certificate,
        credentials=credentials,
        publisher=publisher,
        files=ServerFiles(https_certificates(config), growing_folders(config)),
        pool=pools.files,
        clock=clock,
    )
    jobs, job_runner = build_jobs(
        store, clock, nodes.is_leader, job_actions, timedelta(seconds=config.housekeeping.jobs_kept)
    )
    housekeeping = Housekeeping(
        store=store,
        transparency=transparency,
        clock=clock,
        files=pools.files,
        is_leader=nodes.is_leader,
        settings=housekeeping_settings(config),
    )
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
        broker_publisher=broker_publisher,
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
        ca_directory=ca_directory,
        keys=stored_keys,
        requests=requests,
        new_certificates=new_certificates,
        renewals=renewals,
        devices=devices,
        identity_lists=IdentityLists(store=store, clock=clock, pool=pools.inspection),
        verification=verification,
        transparency=transparency,
        folder_import=FolderImport(
            imports=store,
            certificates=store,
            recovery=store,
            issuers=issuers,
            profiles=ProfileImport(
                policies=policy_administration, templates=templates, issuers=issuers, pool=pools.inspection
            ),
            clock=clock,
            pool=pools.files,
        ),
        notices=build_notices(config, store, pools, connections.broker, dates, clock, nodes.is_leader),
        housekeeping=housekeeping,
        housekeeping_runs=HousekeepingRuns(housekeeping=housekeeping, clock=clock),
        reports=Reports(
            store=store,
            inventory=inventory,
            issuers=issuers,
            verification=verification,
            clock=clock,
            pool=pools.files,
        ),
        guide=guide,
        guide_search=guide_search,
        assistant=Assistant(
            search=guide_search, tools=tools, composer=build_composer(config, connections.chat_model, tools, clock)
        ),
        inspection=Inspection(clock, store, pools.inspection, OpenSSL()),
        operation=ServerView(config, store, clock, pools.files),
        server_dates=dates,
        quick_search=QuickSearch(inventory=inventory, devices=devices, accounts=accounts, guide_search=guide_search),
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
