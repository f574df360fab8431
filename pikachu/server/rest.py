"""Puts the REST API together."""

from __future__ import annotations

from pikachu.server.application import Core
from pikachu.web.api.application import RESTResource
from pikachu.web.api.approvals import ApprovalsAPI
from pikachu.web.api.authority import AuthorityAPI, EventsAPI
from pikachu.web.api.certificates import CertificatesAPI
from pikachu.web.api.challenge_passwords import ChallengePasswordsAPI
from pikachu.web.api.crls import CRLsAPI
from pikachu.web.api.csrs import CSRsAPI
from pikachu.web.api.inspection import InspectionAPI
from pikachu.web.api.keys import KeysAPI
from pikachu.web.api.openapi import OpenAPI
from pikachu.web.api.policies import PoliciesAPI
from pikachu.web.api.routes import Route, Routes
from pikachu.web.api.sessions import AccountCertificatesAPI, SessionsAPI
from pikachu.web.api.statistics import StatisticsAPI
from pikachu.web.api.templates import TemplatesAPI, X509TemplatesAPI
from pikachu.web.api.users import TokensAPI, UsersAPI


def api_routes(core: Core) -> list[Route]:
    """Every route of REST."""
    inventory = core.inventory
    parts: list[Routes] = [
        CertificatesAPI(core, inventory),
        ApprovalsAPI(core, inventory),
        CSRsAPI(core, inventory),
        KeysAPI(core, inventory),
        PoliciesAPI(core, inventory),
        TemplatesAPI(core, inventory),
        X509TemplatesAPI(core, inventory),
        ChallengePasswordsAPI(core, inventory),
        UsersAPI(core),
        TokensAPI(core, inventory),
        SessionsAPI(core),
        AccountCertificatesAPI(core, inventory),
        AuthorityAPI(core),
        CRLsAPI(core),
        EventsAPI(core, inventory),
        StatisticsAPI(core),
        InspectionAPI(core),
    ]
    routes = [route for part in parts for route in part.routes()]
    return [*routes, *OpenAPI(routes).routes()]


def api_tree(core: Core) -> RESTResource:
    """The resource of ``/api`` and of ``/requests``: one object, to be mounted at both, on HTTPS only."""
    return RESTResource(api_routes(core), core.authenticator, core.sessions, core.clock)
