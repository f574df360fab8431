"""Puts the REST API together."""

from __future__ import annotations

from collections.abc import Sequence

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
        CertificatesAPI(
            registration=core.registration, issuers=core.issuers, authority=core.authority, inventory=inventory
        ),
        ApprovalsAPI(registration=core.registration, inventory=inventory),
        CSRsAPI(registration=core.registration, requests=core.requests, inventory=inventory),
        KeysAPI(keys=core.keys, inventory=inventory),
        PoliciesAPI(policy_rules=core.policy_rules, inventory=inventory),
        TemplatesAPI(templates=core.templates, inventory=inventory),
        X509TemplatesAPI(
            templates=core.templates, config=core.config, files_pool=core.pools.files, inventory=inventory
        ),
        ChallengePasswordsAPI(accounts=core.accounts, authority=core.authority, inventory=inventory),
        UsersAPI(accounts=core.accounts, sessions=core.sessions),
        TokensAPI(accounts=core.accounts, inventory=inventory),
        SessionsAPI(sessions=core.sessions),
        AccountCertificatesAPI(sessions=core.sessions, inventory=inventory),
        AuthorityAPI(authorities=core.authorities, statuses=core.statuses),
        CRLsAPI(authorities=core.authorities),
        EventsAPI(inventory=inventory),
        StatisticsAPI(statistics=core.statistics),
        InspectionAPI(inspection=core.inspection),
    ]
    routes = [route for part in parts for route in part.routes()]
    return [*routes, *OpenAPI(routes).routes()]


def api_tree(core: Core, routes: Sequence[Route]) -> RESTResource:
    """The resource of ``/api`` and of ``/requests``: one object, to be mounted at both, on HTTPS only."""
    return RESTResource(routes, core.authenticator, core.sessions, core.clock)
