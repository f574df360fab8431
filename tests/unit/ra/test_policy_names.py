"""Approval and subjectAltName under a policy with its own settings for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pikachu.core.errors import NotFound
from pikachu.core.model.certificates import Method
from pikachu.core.model.people import SYSTEM, AccountState, Principal, PrincipalKind, Role, Scope
from pikachu.core.model.policies import Approval, Policy
from pikachu.ra.enrollment import Issued, Pending
from pikachu.x509.certificate import SUBJECT_ALTERNATIVE_NAME, parse_certificate
from tests.support.deferreds import failure_of, result_of
from tests.support.pki import make_csr
from tests.support.stack import Stack, build_core


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A fresh one."""
    stack = build_core(tmp_path)
    yield stack
    stack.close()


def user(stack: Stack, name: str) -> Principal:
    """An account without rights but its own."""
    account = result_of(
        stack.app.accounts.add_user(SYSTEM, name, f"{name}@example.com", Role.USER, AccountState.ACTIVE, "secret-1")
    )
    return Principal(
        PrincipalKind.ACCOUNT, name, account.id, Role.USER, frozenset({Scope.READ, Scope.ENROLL, Scope.REVOKE})
    )


def test_an_approval_takes_no_other_owner_policy_of_the_same_name(stack: Stack) -> None:
    """POL-3: a policy that was deleted and made again by somebody else is another one."""
    rules, registration = stack.app.policy_administration, stack.app.registration
    asker, other = user(stack, "asker"), user(stack, "other")
    text = "[ v3_ext ]\nextendedKeyUsage = clientAuth\n"
    made = result_of(rules.add(SYSTEM, Policy(0, "fleet", 30, text, system=True, approval=Approval.MANUAL)))
    _, csr = make_csr("p256", "device.example.com")
    waiting = result_of(registration.sign(asker, csr, Method.API, policy="fleet"))
    assert isinstance(waiting, Pending)
    result_of(rules.delete(SYSTEM, made.id))
    result_of(rules.add(other, Policy(0, "fleet", 3000, "[ v3_ext ]\nextendedKeyUsage = serverAuth\n")))
    failure_of(registration.approve(SYSTEM, waiting.request_id), NotFound)


def test_a_policy_that_names_alternative_names_decides_about_them(stack: Stack) -> None:
    """TPL-2: ``email:copy`` that finds no address leaves no room for the names that the request asks for."""
    stack.app.policies.files.write(365, "[ v3_ext ]\nsubjectAltName = email:copy\n")
    stack.app.policies.forget()
    _, csr = make_csr("p256", "device.example.com", sans=["DNS:other.example.com"])
    issued = result_of(stack.app.registration.sign(SYSTEM, csr, Method.CLI))
    assert isinstance(issued, Issued)
    assert parse_certificate(issued.record.der).extension(SUBJECT_ALTERNATIVE_NAME) is None
