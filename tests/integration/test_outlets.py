"""The paths of each listener, and no others (RUN-2, RUN-8)."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator
from typing import Final

import pytest

from tests.support.fleet import FAILURES, new_identity
from tests.support.pki import Identity
from tests.support.server import LISTENERS, Answer, Client, Server, running_server, wait_until

CAPABILITIES = "operation=GetCACaps"
# Path → the statuses on HTTP, SCEP HTTP, HTTPS and trusted HTTPS.
TABLE: Final = {
    "/": (404, 404, 302, 302),
    "/login": (404, 404, 200, 200),
    "/login/more": (404, 404, 404, 404),
    "/ocsp": (200, 404, 200, 200),
    "/ocsp/AAAA": (200, 404, 200, 200),
    "/crl/ec.crl": (200, 404, 200, 200),
    "/crl/ec.pem": (200, 404, 200, 200),
    "/crl/ec-chain.pem": (200, 404, 200, 200),
    "/crl/root.crl": (200, 404, 200, 200),
    "/crl/nothing.crl": (404, 404, 404, 404),
    "/ca/root.crt": (200, 404, 200, 200),
    "/ca/ec.crt": (200, 404, 200, 200),
    "/ca/ec.cer": (200, 404, 200, 200),
    "/ca/ec/chain.pem": (200, 404, 200, 200),
    "/downloads/chain": (200, 404, 200, 200),
    "/downloads/crl": (200, 404, 200, 200),
    "/healthz": (200, 404, 200, 200),
    "/readyz": (200, 404, 200, 200),
    "/status/1": (404, 404, 200, 200),
    "/expired": (404, 404, 200, 200),
    f"/scep?{CAPABILITIES}": (200, 200, 200, 200),
    f"/cgi-bin/pkiclient.exe?{CAPABILITIES}": (200, 200, 200, 200),
    "/cgi-bin/other": (404, 404, 404, 404),
    "/cgi-bin": (404, 404, 404, 404),
    "/.well-known": (404, 404, 404, 404),
    "/.well-known/est": (403, 404, 404, 404),
    "/.well-known/est/cacerts": (403, 404, 200, 200),
    "/.well-known/est/csrattrs": (403, 404, 204, 204),
    "/.well-known/est/nothing": (403, 404, 404, 404),
    "/api": (403, 404, 404, 404),
    "/api/v1/certificates": (403, 404, 401, 401),
    "/api/v1/openapi.json": (403, 404, 200, 200),
    "/api/v1/nothing": (403, 404, 404, 404),
    "/requests/1/download": (404, 404, 401, 401),
    "/nothing": (404, 404, 404, 404),
    "/nothing/below": (404, 404, 404, 404),
    "//": (404, 404, 404, 404),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("outlets")) as server:
        for name in ("ec", "root"):
            wait_until(lambda name=name: server.ask("http", f"/crl/{name}.crl").status == 200, "CRLs are made")  # type: ignore[misc]
        yield server


@pytest.fixture(scope="module")
def identity(server: Server) -> Identity:
    return new_identity(server)


def ask(
    server: Server, identity: Identity, listener: str, path: str, method: str = "GET", accept: str = "*/*"
) -> Answer:
    client = identity if listener == "trusted_https" else None
    return server.ask(listener, path, method, None, {"Accept": accept}, client)


@pytest.mark.parametrize("path", TABLE)
def test_paths(server: Server, identity: Identity, path: str) -> None:
    """RUN-2's table, path by path."""
    found = tuple(ask(server, identity, listener, path).status for listener in LISTENERS)
    assert found == TABLE[path]


@pytest.mark.parametrize("path", TABLE)
def test_browsers(server: Server, identity: Identity, path: str) -> None:
    """Plain HTTP redirects a browser to HTTPS for pages it does not serve; no other listener does."""
    for listener, expected in zip(LISTENERS, TABLE[path], strict=True):
        answer = ask(server, identity, listener, path, accept="text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
        if listener == "http" and expected == 404 and not path.startswith(("/crl/", "/cgi-bin")):
            assert answer.status == 308
            assert answer.headers["Location"] == f"https://127.0.0.1:{server.ports['https']}{path}"
        elif not path.startswith("/cgi-bin"):
            assert answer.status == expected
        if answer.status >= 400 and not (listener.endswith("https") and path.startswith(("/login", "/nothing", "//"))):
            assert "<html" not in answer.text.lower()


def test_methods(server: Server, identity: Identity) -> None:
    """Plain HTTP refuses requests that could carry a password; a page accepts no PUT."""
    for path in ("/", "/login", "/nothing"):
        assert ask(server, identity, "http", path, "POST").status == 403
        assert ask(server, identity, "scep", path, "POST").status == 404
    for path in ("/", "/login"):
        answer = ask(server, identity, "https", path, "PUT")
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, POST")
        assert ask(server, identity, "https", path, "HEAD").body == b""
    # A form without its hidden field.
    assert ask(server, identity, "https", "/login", "POST").status == 403


def test_entrance(server: Server, identity: Identity) -> None:
    """``/`` redirects to the sign-in page, and every link of that page works."""
    assert ask(server, identity, "https", "/").headers["Location"] == "/login"
    page = ask(server, identity, "https", "/login")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert '<form method="post" action="/login">' in page.text
    for link in re.findall(r'(?:href|src)="(/[^"#]*)"', page.text):
        if link == "/register":
            continue
        assert ask(server, identity, "https", link).status in (200, 302), link


@pytest.mark.parametrize("listener", ["http", "https"])
def test_health(server: Server, identity: Identity, listener: str) -> None:
    """RUN-8."""
    assert json.loads(ask(server, identity, listener, "/healthz").body) == {"status": "ok"}
    wait_until(lambda: ask(server, identity, listener, "/readyz").status == 200, "the first CRLs are published")
    ready = json.loads(ask(server, identity, listener, "/readyz").body)
    assert ready["status"] == "ok"
    states = ready["checks"]
    assert {name for name, state in states.items() if state == "disabled"} == {"pkcs11", "vault", "ldap", "mqtt"}
    assert set(states.values()) == {"ok", "disabled"}


def test_trusted_port(server: Server) -> None:
    """Nobody speaks there without a certificate."""
    with pytest.raises(FAILURES):
        server.ask("trusted_https", "/healthz")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_tls(server: Server) -> None:
    """RUN-6."""
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        Client(server.ports["https"], old).ask("/healthz")


def test_turned_off(tmp_path_factory: pytest.TempPathFactory) -> None:
    """RUN-2: each listener, and each protocol, can be turned off."""
    changes = {
        ("SCEP", "http_port"): "0",
        ("TRUSTED_HTTPS", "trusted_port"): "0",
        ("SCEP", "enabled"): "false",
        ("EST", "enabled"): "false",
        ("OCSP", "enabled"): "false",
    }
    with running_server(tmp_path_factory.mktemp("off"), changes=changes) as server:
        assert set(server.ports) == {"http", "https"}
        for path in (f"/scep?{CAPABILITIES}", "/ocsp"):
            assert server.ask("http", path).status == 404
            assert server.ask("https", path).status == 404
        assert server.ask("https", "/.well-known/est/cacerts").status == 404
        assert server.ask("https", "/healthz").status == 200
        assert server.stop() == 0
