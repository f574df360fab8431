"""Builds the pages."""

from __future__ import annotations

from collections.abc import Sequence

from pikachu.server.application import Application
from pikachu.web.api.routes import Route
from pikachu.web.ui.account import AccountPages
from pikachu.web.ui.apis import APIsPages
from pikachu.web.ui.application import UIResource
from pikachu.web.ui.approvals import ApprovalsPages
from pikachu.web.ui.batches import BatchesPages
from pikachu.web.ui.certificate_links import CertificateLinks
from pikachu.web.ui.certificates import CertificatesPages
from pikachu.web.ui.challenge_passwords import ChallengePasswordsPages
from pikachu.web.ui.chat import ChatPages
from pikachu.web.ui.config_and_logs import OperationPages
from pikachu.web.ui.csrs import CSRsPages
from pikachu.web.ui.dashboard import DashboardPages
from pikachu.web.ui.device_enrollment import DeviceEnrollmentPages
from pikachu.web.ui.devices import DevicesPages
from pikachu.web.ui.events import EventsPages
from pikachu.web.ui.expiry import ExpiryPages
from pikachu.web.ui.help import HelpPages
from pikachu.web.ui.housekeeping import HousekeepingPages
from pikachu.web.ui.identity_lists import IdentityListsPages
from pikachu.web.ui.inspection import InspectionPages
from pikachu.web.ui.issuance_choices import IssuanceChoices
from pikachu.web.ui.issuing_cas import AuthorityPages, RevocationPages
from pikachu.web.ui.jobs import JobsPages
from pikachu.web.ui.keys import KeysPages
from pikachu.web.ui.new_certificate import NewCertificatePages
from pikachu.web.ui.notices import NoticesPages
from pikachu.web.ui.pages import Pages
from pikachu.web.ui.passkeys import PasskeyPages
from pikachu.web.ui.password_reset import PasswordResetPages
from pikachu.web.ui.policies import PoliciesPages
from pikachu.web.ui.preferences import PreferencePages
from pikachu.web.ui.ra import RAPages
from pikachu.web.ui.recovered_revocations import RecoveredRevocationsPages
from pikachu.web.ui.register import RegisterPages
from pikachu.web.ui.rendering import Renderer
from pikachu.web.ui.renewals import RenewalPages
from pikachu.web.ui.reports import ReportsPages
from pikachu.web.ui.search import SearchPages
from pikachu.web.ui.second_factor import SecondFactorPages
from pikachu.web.ui.server_location import ServerLocations
from pikachu.web.ui.setup import SetupPages
from pikachu.web.ui.sign_in import SignInPages
from pikachu.web.ui.single_sign_on import SingleSignOnPages
from pikachu.web.ui.static import StaticDirectory, StaticFiles
from pikachu.web.ui.templates import TemplatesPages
from pikachu.web.ui.transparency import TransparencyPages
from pikachu.web.ui.users import UsersPages
from pikachu.web.ui.x509_templates import X509TemplatesPages


def ui_tree(app: Application, routes: Sequence[Route]) -> tuple[UIResource, StaticDirectory]:
    """Build the pages, which serve all paths that no other resource has, and the files at ``/static``.

    :param routes: of REST, which a page documents.
    """
    static = StaticFiles()
    account = AccountPages(
        accounts=app.accounts,
        tokens=app.tokens,
        authenticator=app.authenticator,
        sessions=app.sessions,
        second_factors=app.second_factors,
        passkeys=app.passkeys,
        inventory=app.inventory,
        clock=app.clock,
        files_pool=app.pools.files,
        config=app.config,
    )
    choices = IssuanceChoices(
        policy_administration=app.policy_administration, issuers=app.issuers, inventory=app.inventory
    )
    locations = ServerLocations(config=app.config, issuers=app.issuers, manufacturers=app.manufacturers)
    parts: list[Pages] = [
        SignInPages(sessions=app.sessions, provider_label=None if app.provider is None else app.config.oidc.label),
        KeysPages(keys=app.keys, inventory=app.inventory),
        CSRsPages(requests=app.requests, keys=app.keys, templates=app.templates, inventory=app.inventory),
        RegisterPages(accounts=app.accounts, sessions=app.sessions, config=app.config),
        account,
        UsersPages(
            accounts=app.accounts,
            sessions=app.sessions,
            password_resets=app.password_resets,
            sign_in_locks=app.sign_in_locks,
            config=app.config,
            account_pages=account,
        ),
        SecondFactorPages(
            second_factors=app.second_factors,
            accounts=app.accounts,
            sessions=app.sessions,
            passkey_sign_in=app.passkey_sign_in,
        ),
        PasskeyPages(passkeys=app.passkeys, passkey_sign_in=app.passkey_sign_in, sessions=app.sessions),
        SingleSignOnPages(
            provider=app.provider,
            provider_accounts=app.provider_accounts,
            sessions=app.sessions,
            sealer=app.sealer,
            clock=app.clock,
        ),
        PasswordResetPages(password_resets=app.password_resets, config=app.config),
        RAPages(
            registration=app.registration,
            requests=app.requests,
            policy_administration=app.policy_administration,
            choices=choices,
            issuers=app.issuers,
            inventory=app.inventory,
            authority=app.authority,
        ),
        NewCertificatePages(
            new_certificates=app.new_certificates,
            registration=app.registration,
            keys=app.keys,
            choices=choices,
            challenge_passwords=app.challenge_passwords,
        ),
        DeviceEnrollmentPages(challenge_passwords=app.challenge_passwords, choices=choices, locations=locations),
        HousekeepingPages(runs=app.housekeeping_runs),
        NoticesPages(notices=app.notices.rules),
        IdentityListsPages(identity_lists=app.identity_lists),
        DevicesPages(devices=app.devices, inventory=app.inventory, issuers=app.issuers, authority=app.authority),
        RenewalPages(renewals=app.renewals, inventory=app.inventory),
        ApprovalsPages(registration=app.registration, inventory=app.inventory),
        DashboardPages(
            statistics=app.statistics,
            readiness=app.readiness,
            inventory=app.inventory,
            dates=app.server_dates,
            checklist=app.setup_checklist,
            sessions=app.sessions,
            event_feed=app.event_feed,
            recovery=app.recovery,
            clock=app.clock,
            public_url=app.config.ca.public_url,
        ),
        SearchPages(search=app.quick_search),
        SetupPages(checklist=app.setup_checklist, root=app.root, locations=locations),
        ExpiryPages(statistics=app.statistics),
        JobsPages(jobs=app.jobs, choices=choices, authority=app.authority),
        PreferencePages(preferences=app.preferences),
        EventsPages(inventory=app.inventory, verification=app.verification, transparency=app.transparency),
        TransparencyPages(transparency=app.transparency, inventory=app.inventory),
        ReportsPages(reports=app.reports, verification=app.verification, authority=app.authority),
        HelpPages(guide=app.guide, search=app.guide_search, clock=app.clock),
        ChatPages(assistant=app.assistant, locations=locations, clock=app.clock),
        CertificatesPages(
            inventory=app.inventory,
            issuers=app.issuers,
            keys=app.keys,
            links=CertificateLinks(requests=app.requests, policies=app.policy_administration),
            files_pool=app.pools.files,
            authority=app.authority,
        ),
        RevocationPages(
            inventory=app.inventory,
            ca_directory=app.ca_directory,
            authority=app.authority,
            issuers=app.issuers,
            recovery=app.recovery,
        ),
        RecoveredRevocationsPages(recovery=app.recovery, issuers=app.issuers),
        AuthorityPages(ca_directory=app.ca_directory, authority=app.authority),
        TemplatesPages(templates=app.templates, inventory=app.inventory),
        X509TemplatesPages(templates=app.templates, config=app.config, files_pool=app.pools.files),
        PoliciesPages(
            policy_administration=app.policy_administration,
            templates=app.templates,
            issuers=app.issuers,
            inventory=app.inventory,
            locations=locations,
        ),
        ChallengePasswordsPages(
            challenge_passwords=app.challenge_passwords,
            authority=app.authority,
            inventory=app.inventory,
            config=app.config,
        ),
        BatchesPages(
            batches=app.batches,
            policy_administration=app.policy_administration,
            authority=app.authority,
            issuers=app.issuers,
            inventory=app.inventory,
            locations=locations,
            files_pool=app.pools.files,
        ),
        InspectionPages(inspection=app.inspection),
        APIsPages(
            locations=locations,
            policy_administration=app.policy_administration,
            routes=routes,
        ),
        OperationPages(operation=app.operation),
    ]
    pages = UIResource(
        sessions=app.sessions,
        drafts=app.drafts,
        sealer=app.sealer,
        inventory=app.inventory,
        preferences=app.preferences,
        clock=app.clock,
        pages=[one for part in parts for one in part.pages()],
        renderer=Renderer(static, app.config.default.body_limit),
        advice=app.config.advice,
        alert=(lambda: None) if app.vault is None else app.vault.alert,
    )
    return pages, StaticDirectory(static, pages)
