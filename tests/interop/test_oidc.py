"""Single sign-on with oidc-provider-mock, a real process on the loopback interface (ROL-2)."""

from __future__ import annotations

import http.client
import importlib.util
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from twisted.internet.task import Clock

import pytest

from pikachu.core.errors import AuthenticationFailed
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, AccountSource, Role
from pikachu.web.browsers import SESSION
from tests.support.deferreds import failure_of, result_of
from tests.support.interop import missing
from tests.support.ports import free_port
from tests.support.stack import build_core
from tests.support.visitor import Pages, Visitor, make_pages, text_of

pytestmark = [pytest.mark.interop]

PEOPLE = {
    "1": {"preferred_username": "dora", "email": "dora@example.com", "groups": ["pki-admins", "staff"]},
    "2": {"preferred_username": "emil", "email": "emil@example.com", "groups": ["staff"]},
    "3": {"preferred_username": "guest", "email": "guest@example.com", "groups": []},
    "4": {"preferred_username": "alice", "email": "other@example.com", "groups": ["staff"]},
    "6": {"preferred_username": "frieda", "groups": ["staff", "pki-operators"]},
    "5": {"preferred_username": "bad name", "groups": ["staff"]},
}


@pytest.fixture(scope="module")
def provider_port() -> Iterator[int]:
    """A provider with the people above."""
    if importlib.util.find_spec("oidc_provider_mock") is None:
        missing("oidc-provider-mock is not installed")
    port = free_port()
    claims = (("--user-claims", json.dumps({"sub": sub, **one})) for sub, one in PEOPLE.items())
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "-p", str(port)]
    process = subprocess.Popen([*command, *(text for pair in claims for text in pair)], stderr=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 5).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < limit
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def pages_with(folder: Path, port: int, **more: str) -> Iterator[Pages]:
    secret = folder / "client-secret"
    secret.write_text("the client secret\n")
    settings = {
        "enabled": "true",
        "label": "Example ID",
        "issuer": f"http://127.0.0.1:{port}",
        "client_id": "pikachu",
        "client_secret_file": str(secret),
        "admin_group": "pki-admins",
        "operator_group": "pki-operators",
        "user_group": "staff",
        **more,
    }
    clock = Clock()
    clock.advance(time.time())
    stack = build_core(folder / "core", clock, changes={("OIDC", name): text for name, text in settings.items()})
    try:
        yield make_pages(stack)
    finally:
        stack.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, provider_port: int) -> Iterator[Pages]:
    with pages_with(tmp_path_factory.mktemp("oidc"), provider_port) as pages:
        yield pages


@pytest.fixture
def pages(shared: Pages) -> Pages:
    # The provider uses the real time.
    shared.clock.advance(max(0.0, time.time() - shared.clock.seconds()))
    return shared


def at_provider(location: str, sub: str, **fields: str) -> str:
    """Agree as the person *sub* there; return the path and query that the provider leads back to."""
    parts = urlsplit(location)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    body = urlencode({"sub": sub, **fields})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", f"{parts.path}?{parts.query}", body, headers)
    answer = connection.getresponse()
    assert answer.status == 302, answer.read()
    back = urlsplit(answer.getheader("Location") or "")
    connection.close()
    assert (back.scheme, back.netloc, back.path) == ("https", "ca.example.org", "/login/oidc/callback")
    return f"{back.path}?{back.query}"


def sign_in(pages: Pages, sub: str, target: str = "/certificates") -> tuple[Visitor, str]:
    """Sign in as a person of the provider; return the browser, and where it was led."""
    visitor = pages.visitor()
    start = visitor.request("GET", f"/login/oidc?{urlencode({'next': target})}")
    assert start.status == 302
    answer = visitor.request("GET", at_provider(start.headers["Location"], sub))
    assert answer.status == 303
    return visitor, answer.headers["Location"]


def test_signing_in(pages: Pages) -> None:
    """The first sign-in creates the account with the role of its groups; one comes back to where one was."""
    assert "Sign in with Example ID" in text_of(pages.visitor().get("/login"))
    visitor, location = sign_in(pages, "1", "/certificates?q=x")
    assert location == "/certificates?q=x"
    assert 'href="/account">dora' in visitor.get(location)
    account = result_of(pages.stack.app.accounts.find(SYSTEM, "dora"))
    assert (account.source, account.role, account.email) == (AccountSource.OIDC, Role.ADMIN, "dora@example.com")
    sign_in(pages, "1")
    assert result_of(pages.stack.app.accounts.find(SYSTEM, "dora")).id == account.id
    # It has no password, here or in a directory.
    sign_in(pages, "6")
    assert result_of(pages.stack.app.accounts.find(SYSTEM, "frieda")).role is Role.OPERATOR
    failure_of(pages.stack.app.authenticator.basic("dora", "", ""), AuthenticationFailed)
    assert pages.visitor().sign_in("dora", "x").status == 401
    result_of(pages.stack.app.accounts.update(SYSTEM, account.id, role=Role.USER))
    sign_in(pages, "1")
    assert result_of(pages.stack.app.accounts.find(SYSTEM, "dora")).role is Role.ADMIN


@pytest.mark.parametrize(
    ("sub", "text"),
    [
        ("3", "Your groups may not sign in here."),
        ("4", "Another account here has the name alice, and is not taken over."),
        ("5", "The provider sent no usable user name"),
    ],
)
def test_refused(pages: Pages, sub: str, text: str) -> None:
    """A person without the group, and one whose name a local account has; that one stays as it is."""
    visitor, location = sign_in(pages, sub)
    assert location == "/login"
    assert SESSION not in visitor.cookies
    assert text in text_of(visitor.get("/login"))
    (record,) = result_of(pages.stack.app.store.events(ListQuery(limit=1, filters={"type": "failed login"}))).items
    assert record.event.details["subject"] == sub
    assert text in str(record.event.details["reason"])
    assert result_of(pages.stack.app.accounts.find(SYSTEM, "alice")).source is AccountSource.LOCAL
    assert pages.visitor().sign_in("alice").status == 303


def test_suspended(pages: Pages) -> None:
    """An administrator here has the last word."""
    sign_in(pages, "2")
    account = result_of(pages.stack.app.accounts.find(SYSTEM, "emil"))
    result_of(pages.stack.app.accounts.suspend(SYSTEM, account.id))
    visitor, location = sign_in(pages, "2")
    assert location == "/login"
    assert "suspended" in text_of(visitor.get("/login"))
    result_of(pages.stack.app.accounts.delete(SYSTEM, account.id))
    sign_in(pages, "2")
    assert result_of(pages.stack.app.accounts.find(SYSTEM, "emil")).id != account.id


def refused(one: Visitor, target: str) -> None:
    """Check that an answer of the provider is not taken for one to this browser's attempt."""
    answer = one.request("GET", target)
    assert answer.headers["Location"] == "/login"
    assert SESSION not in one.cookies
    assert "This sign-in has expired or was not started here." in text_of(one.get("/login"))


def test_a_late_answer(tmp_path: Path, provider_port: int) -> None:
    """An attempt ends after ten minutes."""
    with pages_with(tmp_path, provider_port) as pages:
        late = pages.visitor()
        path = at_provider(late.request("GET", "/login/oidc").headers["Location"], "1")
        pages.clock.advance(601)
        refused(late, path)


def test_answers_belong_to_an_attempt(pages: Pages) -> None:
    """An answer with another state, of another browser, used before, or too late signs in nobody."""
    visitor = pages.visitor()
    path = at_provider(visitor.request("GET", "/login/oidc").headers["Location"], "1")
    refused(pages.visitor(), path)
    cookies = dict(visitor.cookies)
    refused(visitor, path.replace("state=", "state=x"))
    visitor.cookies = dict(cookies)
    assert visitor.request("GET", path).headers["Location"] == "/"
    # The code was used; the provider refuses it.
    other = pages.visitor()
    other.cookies = dict(cookies)
    assert other.request("GET", path).headers["Location"] == "/login"
    assert "The provider refused this sign-in." in text_of(other.get("/login"))


def test_cancelled(pages: Pages) -> None:
    visitor = pages.visitor()
    visitor.request("GET", "/login/oidc")
    assert visitor.request("GET", "/login/oidc/callback?error=access_denied").headers["Location"] == "/login"


def test_confirmation(pages: Pages) -> None:
    """Pages with secrets are confirmed by the provider, by the same person."""
    visitor, _ = sign_in(pages, "1")
    page = visitor.get("/confirm?next=/account/tokens/new")
    assert "Confirm with Example ID" in text_of(page)
    assert 'type="password"' not in page
    assert visitor.request("GET", "/account/tokens/new").status == 303
    start = visitor.request("GET", "/confirm/oidc?next=/account/tokens/new")
    assert "prompt=login" in start.headers["Location"]
    answer = visitor.request("GET", at_provider(start.headers["Location"], "1"))
    assert answer.headers["Location"] == "/account/tokens/new"
    assert visitor.request("GET", "/account/tokens/new").status == 200


def test_outage(tmp_path: Path) -> None:
    """A provider that is down delays no local sign-in, and says so to those who use it."""
    with pages_with(tmp_path, free_port()) as pages:
        visitor = pages.visitor()
        assert visitor.request("GET", "/login/oidc").headers["Location"] == "/login"
        assert "The sign-in provider does not answer." in text_of(visitor.get("/login"))
        assert visitor.sign_in("alice").headers["Location"] == "/"
