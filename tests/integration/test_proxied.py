"""A real server behind proxies: whose PROXY header, X-Forwarded-For and client certificate count."""

from __future__ import annotations

import base64
import http.client
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import pkcs7

from tests.support.est import PREFIX, basic
from tests.support.est_live import LiveEST, live_est
from tests.support.pki import Identity, make_ca, make_csr, make_key, make_leaf
from tests.support.proxies import CLIENT, PROXY, STRANGER, V1, V2, ask, connect
from tests.support.server import Answer, end, make_server, wait_until

#: PROXY headers that name no client.
UNRELAYED = {
    "v1-UNKNOWN": b"PROXY UNKNOWN\r\n",
    "v2-LOCAL": V2[:12] + b"\x20\x00\x00\x00",
    "v2-LOCAL-with-addresses": V2[:12] + b"\x20" + V2[13:],
    "v2-UNSPEC": V2[:12] + b"\x21\x00\x00\x00",
}
OUTSIDE = "https://ca.example.com"


@pytest.fixture(scope="module")
def est(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEST]:
    """A server that trusts 127.0.0.1, in headers on its HTTPS port, and in PROXY headers on the other ports."""
    changes = {
        ("DEFAULT", "trusted_proxies"): f"{PROXY}, 10.0.0.0/8",
        ("DEFAULT", "proxy_protocol"): "true",
        ("TRUSTED_HTTPS", "proxy_protocol"): "true",
        ("HTTPS", "client_certificate_header"): "Client-Cert",
        ("HTTPS", "external_url"): OUTSIDE,
    }
    with live_est(tmp_path_factory.mktemp("server"), changes=changes) as server:
        yield server


@pytest.fixture(scope="module")
def device(est: LiveEST) -> Identity:
    """A device of alice's with a certificate."""
    return issue(est, "device")


def issue(est: LiveEST, subject: str) -> Identity:
    """Enroll a client certificate by alice's password."""
    key, csr = make_csr(subject=subject)
    headers = {"Content-Type": "application/pkcs10", **basic("alice")}
    answer = ask(est.server, "https", f"{PREFIX}/simpleenroll", headers=headers, body=base64.b64encode(csr))
    assert answer.status == 200, answer
    (certificate,) = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.body))
    return est.identity(key, certificate)


def rfc9440(identity: Identity) -> dict[str, str]:
    return {"Client-Cert": f":{base64.b64encode(identity.der).decode()}:"}


def enroll(
    est: LiveEST,
    listener: str,
    headers: Mapping[str, str] | None = None,
    *,
    source: str = PROXY,
    header: bytes = b"",
    identity: Identity | None = None,
) -> Answer:
    """Enroll a new key for the subject of :func:`device`."""
    _, csr = make_csr(subject="device", key=make_key("p256", 7))
    fields = {"Content-Type": "application/pkcs10", **(headers or {})}
    body, path = base64.b64encode(csr), f"{PREFIX}/simpleenroll"
    return ask(est.server, listener, path, source=source, header=header, identity=identity, headers=fields, body=body)


def logged_address(est: LiveEST, path: str) -> str:
    """Return the address with which a request for *path* was logged."""
    found = wait_until(lambda: re.search(rf"GET {re.escape(path)} \d+ \d+ [0-9.]+ ms (\S+)", est.server.log), path)
    return str(found[1])


@pytest.mark.parametrize(
    ("source", "headers", "client"),
    [
        (PROXY, {}, PROXY),
        (PROXY, {"X-Forwarded-For": CLIENT}, CLIENT),
        (PROXY, {"X-Forwarded-For": f"192.0.2.66, {CLIENT}, 10.1.1.1"}, CLIENT),
        (STRANGER, {"X-Forwarded-For": CLIENT}, STRANGER),
    ],
)
def test_forwarded_address(est: LiveEST, source: str, headers: Mapping[str, str], client: str) -> None:
    path = f"/nothing-{abs(hash((source, *headers.values())))}"
    assert ask(est.server, "https", path, source=source, headers=headers).status in (302, 404)
    assert logged_address(est, path) == client


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_proxy_header(est: LiveEST, header: bytes, device: Identity) -> None:
    """The address comes from the header, the certificate from TLS."""
    path = f"/nothing-after-v{1 if header is V1 else 2}"
    ask(est.server, "trusted_https", path, header=header, identity=device)
    assert logged_address(est, path) == CLIENT
    assert enroll(est, "trusted_https", header=header, identity=device).status == 200
    assert ask(est.server, "http", "/healthz", header=header).status == 200


@pytest.mark.parametrize("listener", ["http", "trusted_https"])
def test_proxy_header_is_required_from_a_proxy(est: LiveEST, listener: str, device: Identity) -> None:
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(est.server, listener, "/healthz", identity=device)


@pytest.mark.parametrize("listener", ["http", "https", "trusted_https"])
@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_proxy_header_of_a_stranger(est: LiveEST, listener: str, header: bytes, device: Identity) -> None:
    """It is a malformed request, or no TLS; without it a stranger is served like anybody."""
    if listener == "http":
        assert ask(est.server, listener, "/healthz", source=STRANGER, header=header).status == 400
    else:
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(est.server, listener, "/healthz", source=STRANGER, header=header, identity=device)
    assert ask(est.server, listener, "/healthz", source=STRANGER, identity=device).status == 200


@pytest.mark.parametrize("name", UNRELAYED)
def test_connection_whose_client_a_proxy_does_not_name(name: str, est: LiveEST, device: Identity) -> None:
    """The address is the proxy's, but nothing that arrives is its word: neither an address nor a certificate."""
    header = UNRELAYED[name]
    path = f"/nothing-{name}"
    answer = ask(est.server, "http", path, header=header, headers={"X-Forwarded-For": CLIENT})
    assert answer.status == 404
    assert logged_address(est, path) == PROXY
    assert ask(est.server, "http", "/healthz", header=header).status == 200


def test_certificate_where_a_proxy_does_not_name_the_client(tmp_path: Path) -> None:
    """A header that its client may have written is no certificate."""
    changes = {
        ("DEFAULT", "trusted_proxies"): PROXY,
        ("HTTPS", "proxy_protocol"): "true",
        ("HTTPS", "client_certificate_header"): "Client-Cert",
    }
    server = make_server(tmp_path, changes=changes)
    relayed = f"PROXY TCP4 {PROXY} 127.0.0.1 5678 443\r\n".encode()
    device = make_leaf(server.files.issuers["ec"], "device")
    try:
        server.start()
        est = LiveEST(server)
        # From a proxy behind the proxy the header counts, and tells of a certificate that was not issued here.
        assert enroll(est, "https", rfc9440(device), header=relayed).status == 403
        for header in UNRELAYED.values():
            assert enroll(est, "https", rfc9440(device), header=header).status == 401
    finally:
        end(server)


def test_connection_that_sends_no_header_costs_nothing(est: LiveEST) -> None:
    """Others are served meanwhile; a proxy that hangs up before the header is forgotten."""
    waiting = [connect(est.server, "http", PROXY, V1[:size]) for size in range(20)]
    assert ask(est.server, "http", "/healthz", header=V1).status == 200
    for connection in waiting:
        connection.close()
    assert ask(est.server, "http", "/healthz", header=V1).status == 200


# --- client certificates --------------------------------------------------------------------


def test_certificate_of_the_header(est: LiveEST, device: Identity) -> None:
    assert enroll(est, "https", rfc9440(device)).status == 200
    assert enroll(est, "https").status == 401


def test_certificate_header_of_a_stranger_is_ignored(est: LiveEST, device: Identity) -> None:
    assert enroll(est, "https", source=STRANGER, headers=rfc9440(device)).status == 401
    assert enroll(est, "https", source=STRANGER, identity=device).status == 200


def test_certificate_of_the_proxy_is_no_clients(est: LiveEST, device: Identity) -> None:
    """A proxy that authenticates to this server by a certificate must not lend it to its clients."""
    assert enroll(est, "https", identity=device).status == 401


def test_certificate_header_on_the_trusted_port_is_ignored(est: LiveEST, device: Identity) -> None:
    other = issue(est, "other")
    answer = enroll(est, "trusted_https", header=V1, identity=device, headers=rfc9440(other))
    assert answer.status == 200


@pytest.mark.parametrize(
    "value",
    [":AAAA:", "x", quote("-----BEGIN CERTIFICATE-----"), "two"],
)
def test_malformed_certificate_header(est: LiveEST, device: Identity, value: str) -> None:
    """400 where it can't be read, 403 where what it holds is no certificate; never somebody's request."""
    headers = rfc9440(device)
    headers["Client-Cert"] = f"{headers['Client-Cert']}, {headers['Client-Cert']}" if value == "two" else value
    assert enroll(est, "https", headers).status in (400, 403)


def test_revoked_certificate_of_the_header(est: LiveEST) -> None:
    identity = issue(est, "revoked")
    assert enroll(est, "https", rfc9440(identity)).status == 200
    est.revoke(identity.certificate.serial_number)
    assert enroll(est, "https", rfc9440(identity)).status == 403


def test_foreign_certificate_of_the_header(est: LiveEST, device: Identity) -> None:
    assert enroll(est, "https", rfc9440(make_leaf(make_ca(name="Foreign CA"), "device"))).status == 403


# --- the outside address --------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "evil.example.org", "127.0.0.1:1"])
def test_redirect_goes_outside(est: LiveEST, host: str) -> None:
    """Not to what the Host header says."""
    headers = {"Accept": "text/html", "Host": host}
    answer = ask(est.server, "http", "/login?next=/x", header=V1, headers=headers)
    assert (answer.status, answer.headers["Location"]) == (308, f"{OUTSIDE}/login?next=/x")


def test_requests_from_the_outside_address(est: LiveEST) -> None:
    """A browser names the outside address as origin, whatever Host the proxy sends."""
    form = b"username=alice&password=wrong"
    for origin, status in ((OUTSIDE, 403), ("https://evil.example.org", 403)):
        answer = ask(
            est.server,
            "https",
            "/login",
            headers={"Origin": origin, "Content-Type": "application/x-www-form-urlencoded"},
            body=form,
        )
        assert answer.status == status
        assert ("another site" in answer.text) == (origin != OUTSIDE)


def test_limits_of_guessing_go_by_the_forwarded_address(est: LiveEST) -> None:
    """Password guessing through the proxy does not lock out the proxy's other clients."""

    def guess(address: str, number: int) -> int:
        word = base64.b64encode(f"nobody{number}:wrong".encode()).decode()
        return enroll(est, "https", {"Authorization": f"Basic {word}", "X-Forwarded-For": address}).status

    statuses = [guess("198.51.100.99", number) for number in range(31)]
    assert statuses == [401] * 30 + [429]
    assert guess("198.51.100.98", 0) == 401
