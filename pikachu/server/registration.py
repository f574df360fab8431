"""Builds the registration authority for each kind of client."""

from __future__ import annotations

from typing import NamedTuple

from pikachu.auth.authenticator import Authenticator
from pikachu.ca.issuance import CertificateAuthority
from pikachu.config.configuration import Configuration
from pikachu.core.interfaces import IStore
from pikachu.ra.enrollment import EnrollmentService, EnrollmentSettings
from pikachu.ra.est import ESTRegistration, ESTSettings
from pikachu.ra.policies import PolicyResolver
from pikachu.ra.registration_authority import RegistrationAuthority
from pikachu.ra.scep import SCEPRegistration


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
    accounts = RegistrationAuthority(
        service=service,
        store=store,
        authority=authority,
        policies=policies,
        self_approval=config.ra.self_approval,
    )
    return Registration(service, est, scep, accounts)
