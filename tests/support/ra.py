"""Requests that wait, and requests that are kept, for tests of pages."""

from __future__ import annotations

from pikachu.auth.authenticator import account_principal
from pikachu.core.model.certificates import Method
from pikachu.core.model.people import SYSTEM
from pikachu.core.model.policies import Approval, Policy
from pikachu.core.model.requests import StoredCSR
from pikachu.ra.enrollment import Pending
from tests.support.deferreds import result_of
from tests.support.pki import make_csr
from tests.support.stack import DEFAULT_EXTENSIONS
from tests.support.visitor import Pages

MANUAL = "looked at"


def waiting_request(pages: Pages, name: str = "alice", common_name: str = "device.example.com") -> int:
    """The id of a request of *name*'s that waits for approval, under a policy that is made when it is not there."""
    app = pages.stack.app
    if result_of(app.store.policy_by_name(MANUAL)) is None:
        policy = Policy(0, MANUAL, 20, DEFAULT_EXTENSIONS, system=True, approval=Approval.MANUAL)
        result_of(app.policy_administration.add(SYSTEM, policy))
    actor = account_principal(pages.accounts[name], "192.0.2.3")
    _, csr = make_csr("p256", common_name, [f"DNS:{common_name}"])
    waiting = result_of(app.registration.sign(actor, csr, Method.API, policy=MANUAL))
    assert isinstance(waiting, Pending)
    return waiting.request_id


def stored_request(pages: Pages, name: str = "alice", common_name: str = "device.example.com") -> StoredCSR:
    """A request that *name* keeps."""
    actor = account_principal(pages.accounts[name], "192.0.2.3")
    _, csr = make_csr("p256", common_name, [f"DNS:{common_name}"])
    return result_of(pages.stack.app.requests.store(actor, common_name, csr))
