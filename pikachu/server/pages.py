"""Puts the pages together."""

from __future__ import annotations

from pikachu.core.interfaces import IClock
from pikachu.server.application import Core
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


def ui_tree(core: Core, clock: IClock) -> tuple[UIResource, StaticFiles]:
    """The pages, which serve every path that is nobody else's, and what is mounted at ``/static``."""
    static = StaticFiles()
    account = AccountPages(core)
    parts: list[Pages] = [
        SignInPages(core),
        KeysPages(core),
        CSRsPages(core),
        RegisterPages(core),
        account,
        UsersPages(core, account),
        RAPages(core),
        ApprovalsPages(core),
        DashboardPages(core),
        EventsPages(core),
        HelpPages(core),
        ChatPages(core),
        CertificatesPages(core),
        RevocationPages(core),
        AuthorityPages(core),
        TemplatesPages(core),
        X509TemplatesPages(core),
        PoliciesPages(core),
        ChallengePasswordsPages(core),
        InspectionPages(core),
        APIsPages(core),
        OperationPages(core),
    ]
    return UIResource(core, clock, [one for part in parts for one in part.pages()], Renderer(static)), static
