"""Builds the REST API."""

from __future__ import annotations

from collections.abc import Sequence

from pikachu.server.application import Application
from pikachu.web.api.account_security import AccountSecurityAPI
from pikachu.web.api.application import RESTResource
from pikachu.web.api.approvals import ApprovalsAPI
from pikachu.web.api.batches import BatchesAPI
from pikachu.web.api.certificates import CertificatesAPI
from pikachu.web.api.challenge_passwords import ChallengePasswordsAPI
from pikachu.web.api.crls import CRLAPI
from pikachu.web.api.csrs import CSRAPI
from pikachu.web.api.devices import DevicesAPI
from pikachu.web.api.housekeeping import HousekeepingAPI
from pikachu.web.api.idempotency import SharedAnswers
from pikachu.web.api.identity_lists import IdentityListsAPI
from pikachu.web.api.inspection import InspectionAPI
from pikachu.web.api.issuing_cas import AuthorityAPI, EventsAPI
from pikachu.web.api.jobs import JobsAPI
from pikachu.web.api.keys import KeysAPI
from pikachu.web.api.notices import NoticesAPI
from pikachu.web.api.openapi import OpenAPI
from pikachu.web.api.policies import PoliciesAPI
from pikachu.web.api.recovered_revocations import RecoveredRevocationsAPI
from pikachu.web.api.reports import ReportsAPI
from pikachu.web.api.routes import Route, Routes
from pikachu.web.api.sessions import AccountCertificatesAPI, SessionsAPI
from pikachu.web.api.statistics import StatisticsAPI
from pikachu.web.api.templates import TemplatesAPI, X509TemplatesAPI
from pikachu.web.api.transparency import TransparencyAPI
from pikachu.web.api.users import TokensAPI, UsersAPI


def api_routes(app: Application) -> list[Route]:
    """Return every route of REST."""
    inventory = app.inventory
    parts: list[Routes] = [
        CertificatesAPI(
            registration=app.registration,
            new_certificates=app.new_certificates,
            renewals=app.renewals,
            keys=app.keys,
            issuers=app.issuers,
            authority=app.authority,
            inventory=inventory,
        ),
        ApprovalsAPI(registration=app.registration, inventory=inventory),
        CSRAPI(registration=app.registration, requests=app.requests, inventory=inventory),
        KeysAPI(keys=app.keys, inventory=inventory),
        PoliciesAPI(policy_administration=app.policy_administration, inventory=inventory),
        TemplatesAPI(templates=app.templates, inventory=inventory),
        X509TemplatesAPI(templates=app.templates, config=app.config, files_pool=app.pools.files, inventory=inventory),
        ChallengePasswordsAPI(
            challenge_passwords=app.challenge_passwords, authority=app.authority, inventory=inventory
        ),
        BatchesAPI(batches=app.batches, authority=app.authority, inventory=inventory, files_pool=app.pools.files),
        DevicesAPI(devices=app.devices, authority=app.authority, inventory=inventory),
        IdentityListsAPI(identity_lists=app.identity_lists),
        HousekeepingAPI(runs=app.housekeeping_runs),
        NoticesAPI(notices=app.notices.rules),
        UsersAPI(accounts=app.accounts, sessions=app.sessions),
        AccountSecurityAPI(
            accounts=app.accounts,
            sign_in_locks=app.sign_in_locks,
            password_resets=app.password_resets,
            second_factors=app.second_factors,
            passkeys=app.passkeys,
        ),
        TokensAPI(tokens=app.tokens, inventory=inventory),
        SessionsAPI(sessions=app.sessions),
        AccountCertificatesAPI(sessions=app.sessions, inventory=inventory),
        AuthorityAPI(ca_directory=app.ca_directory, statuses=app.statuses),
        CRLAPI(ca_directory=app.ca_directory),
        JobsAPI(jobs=app.jobs),
        RecoveredRevocationsAPI(recovery=app.recovery, issuers=app.issuers),
        EventsAPI(inventory=inventory),
        ReportsAPI(reports=app.reports, verification=app.verification, clock=app.clock),
        TransparencyAPI(transparency=app.transparency, inventory=inventory),
        StatisticsAPI(statistics=app.statistics),
        InspectionAPI(inspection=app.inspection),
    ]
    routes = [route for part in parts for route in part.routes()]
    return [*routes, *OpenAPI(routes).routes()]


def api_tree(app: Application, routes: Sequence[Route]) -> RESTResource:
    """Build the resource of ``/api`` and of ``/requests``: one object, mounted at both, on HTTPS only."""
    shared = SharedAnswers(app.store, app.clock, app.authority.process, app.sealer) if app.store.has_nodes else None
    return RESTResource(routes, app.authenticator, app.sessions, app.clock, shared)
