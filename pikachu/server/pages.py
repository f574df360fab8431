"""Puts the pages together."""

from __future__ import annotations

from collections.abc import Sequence

from pikachu.server.application import Core
from pikachu.web.api.routes import Route
from pikachu.web.ui.account import AccountPages
from pikachu.web.ui.apis import APIsPages
from pikachu.web.ui.application import UIResource
from pikachu.web.ui.approvals import ApprovalsPages
from pikachu.web.ui.authority import AuthorityPages, RevocationPages
from pikachu.web.ui.certificates import CertificatesPages
from pikachu.web.ui.challenge_passwords import ChallengePasswordsPages
from pikachu.web.ui.csrs import CSRsPages
from pikachu.web.ui.dashboard import DashboardPages
from pikachu.web.ui.events import EventsPages
from pikachu.web.ui.help import ChatPages, HelpPages
from pikachu.web.ui.inspection import InspectionPages
from pikachu.web.ui.keys import KeysPages
from pikachu.web.ui.operation import OperationPages
from pikachu.web.ui.pages import Pages
from pikachu.web.ui.policies import PoliciesPages
from pikachu.web.ui.ra import RAPages
from pikachu.web.ui.register import RegisterPages
from pikachu.web.ui.rendering import Renderer
from pikachu.web.ui.sign_in import SignInPages
from pikachu.web.ui.static import StaticFiles
from pikachu.web.ui.templates import TemplatesPages
from pikachu.web.ui.users import UsersPages
from pikachu.web.ui.x509_templates import X509TemplatesPages


def ui_tree(core: Core, routes: Sequence[Route]) -> tuple[UIResource, StaticFiles]:
    """The pages, which serve every path that is nobody else's, and what is mounted at ``/static``.

    :param routes: of REST, which a page documents.
    """
    static = StaticFiles()
    account = AccountPages(
        accounts=core.accounts,
        authenticator=core.authenticator,
        sessions=core.sessions,
        inventory=core.inventory,
        clock=core.clock,
        files_pool=core.pools.files,
        config=core.config,
    )
    parts: list[Pages] = [
        SignInPages(sessions=core.sessions),
        KeysPages(keys=core.keys, inventory=core.inventory),
        CSRsPages(requests=core.requests, keys=core.keys, templates=core.templates, inventory=core.inventory),
        RegisterPages(accounts=core.accounts, sessions=core.sessions, config=core.config),
        account,
        UsersPages(accounts=core.accounts, sessions=core.sessions, config=core.config, account_pages=account),
        RAPages(
            registration=core.registration,
            requests=core.requests,
            policy_rules=core.policy_rules,
            issuers=core.issuers,
            inventory=core.inventory,
            authority=core.authority,
        ),
        ApprovalsPages(registration=core.registration, inventory=core.inventory),
        DashboardPages(
            statistics=core.statistics,
            readiness=core.readiness,
            inventory=core.inventory,
            issuers=core.issuers,
            sessions=core.sessions,
            live=core.live,
            clock=core.clock,
        ),
        EventsPages(inventory=core.inventory, verification=core.verification),
        HelpPages(manual=core.manual),
        ChatPages(assistant=core.assistant),
        CertificatesPages(
            inventory=core.inventory,
            issuers=core.issuers,
            keys=core.keys,
            files_pool=core.pools.files,
            authority=core.authority,
        ),
        RevocationPages(
            inventory=core.inventory, authorities=core.authorities, authority=core.authority, issuers=core.issuers
        ),
        AuthorityPages(authorities=core.authorities, authority=core.authority),
        TemplatesPages(templates=core.templates, inventory=core.inventory),
        X509TemplatesPages(templates=core.templates, config=core.config, files_pool=core.pools.files),
        PoliciesPages(
            policy_rules=core.policy_rules, templates=core.templates, issuers=core.issuers, inventory=core.inventory
        ),
        ChallengePasswordsPages(
            accounts=core.accounts, authority=core.authority, inventory=core.inventory, config=core.config
        ),
        InspectionPages(inspection=core.inspection),
        APIsPages(config=core.config, issuers=core.issuers, manufacturers=core.manufacturers, routes=routes),
        OperationPages(operation=core.operation),
    ]
    return UIResource(
        sessions=core.sessions,
        sealer=core.sealer,
        inventory=core.inventory,
        clock=core.clock,
        pages=[one for part in parts for one in part.pages()],
        renderer=Renderer(static),
    ), static
