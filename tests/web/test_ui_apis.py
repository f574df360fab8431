"""The pages APIs (UI-8) and REST reference (API-2)."""

from __future__ import annotations

import html
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from pikachu.server.rest import api_routes
from pikachu.web.api.openapi import describe
from pikachu.web.ui.api_trial import Trials
from tests.support.stack import build_core
from tests.support.visitor import Pages, make_pages, text_of


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    stack = build_core(tmp_path_factory.mktemp("core"), key_types=("p256", "rsa2048"))
    yield make_pages(stack)
    stack.close()


def commands(page: str) -> list[str]:
    """All that can be copied."""
    found = re.findall(r'<div class="command">.*?<pre[^>]*>(.*?)</pre>', page, re.DOTALL)
    return [html.unescape(text) for text in found]


def visit(pages: Pages, host: str, path: str = "/apis") -> str:
    """Return the page for alice with *host* as the Host header."""
    response = pages.visitor("alice").request("GET", path, headers={"Host": host})
    assert response.status == 200
    return response.body.decode()


def test_every_kind_of_endpoint(pages: Pages) -> None:
    """Each protocol, with this server's ports, each issuing CA and the visitor's name."""
    page = visit(pages, "ca.example.com:8443")
    said = text_of(page)
    for path in (
        "/ca/root.crt",
        "/ca/ec.crt",
        "/ca/rsa.crt",
        "/downloads/chain",
        "/downloads/crl",
        "/crl/ec.crl",
        "/crl/rsa-chain.pem",
        "/.well-known/est/cacerts",
        "/.well-known/est/simpleenroll",
        "/.well-known/est/simplereenroll",
        "/.well-known/est/serverkeygen",
        "/.well-known/est/csrattrs",
        "/scep?operation=GetCACaps",
        "/scep?operation=PKIOperation",
        "/scep?operation=GetNextCACert",
        "/requests/ID/download",
        "/api/v1/certificates/ID/pfx",
        "/ocsp",
        "/status/SERIAL",
        "/expired",
        "/healthz",
        "/readyz",
        "/api/v1/certificates",
        "/api/v1/inspect",
    ):
        assert path in said, path
    assert "/metrics" not in said, "only administrators may ask for them"
    assert "/metrics" in text_of(pages.visitor("root").get("/apis"))
    texts = "\n".join(commands(page))
    assert "https://ca.example.com/api/v1/certificates" in texts
    assert "https://ca.example.com:4443/.well-known/est/simplereenroll" in texts
    assert "http://ca.example.com:8090/scep" in texts
    assert "http://ca.example.com/ocsp" in texts
    assert "--user alice" in texts
    for program in ("curl", "openssl", "pki", "sscep", "estclient"):
        assert re.search(rf"^{program} ", texts, re.MULTILINE), program


@pytest.mark.parametrize("host", ["a;rm -rf /", "$(id).example.com", "a'b", "x y", "[::1]$", ""])
def test_hostile_hosts(pages: Pages, host: str) -> None:
    """An invalid Host header appears in no command."""
    texts = commands(visit(pages, host))
    assert any("https://localhost/" in text for text in texts)
    assert not any("rm -rf" in text or "$(id)" in text or "a'b" in text for text in texts)


def test_addresses(pages: Pages) -> None:
    """Of version 6 too."""
    assert any("http://[2001:db8::1]:8090/scep" in text for text in commands(visit(pages, "[2001:db8::1]:443")))


def test_what_is_off_is_not_shown(tmp_path: Path) -> None:
    """EST, SCEP, OCSP and plain HTTP can be turned off; a public address wins over Host."""
    changes = {
        ("EST", "enabled"): "false",
        ("SCEP", "enabled"): "false",
        ("OCSP", "enabled"): "false",
        ("CA", "public_url"): "http://pki.example.org",
    }
    stack = build_core(tmp_path, changes=changes)
    page = visit(make_pages(stack), "ca.example.com")
    assert not re.search("est/simpleenroll|/scep|/ocsp", text_of(page))
    assert any("http://pki.example.org/ca/root.crt" in text for text in commands(page))
    stack.close()


def test_without_plain_http(tmp_path: Path) -> None:
    """The same is fetched by HTTPS."""
    stack = build_core(tmp_path, changes={("DEFAULT", "http_port"): "0", ("SCEP", "http_port"): "0"})
    texts = commands(visit(make_pages(stack), "ca.example.com"))
    assert not any("http://" in text for text in texts)
    assert any("--insecure --output root.crt https://ca.example.com/ca/root.crt" in text for text in texts)
    stack.close()


def test_reference_has_every_operation(pages: Pages) -> None:
    """API-2: each route with its summary, parameters, answers and a command that a shell can read."""
    page = visit(pages, "ca.example.com", "/apis/reference")
    said = text_of(page)
    routes = api_routes(pages.stack.app)
    for route in routes:
        assert re.sub(r"<(\w+)>", r"{\1}", route.path) in said
        assert route.operation.summary in said
    texts = commands(page)
    assert len(texts) == len(routes)
    for text in texts:
        words = shlex.split(text)
        assert words[0] == "curl"
        assert words[-1].startswith("https://ca.example.com/")
        if "--data" in words:
            assert isinstance(json.loads(words[words.index("--data") + 1]), dict)
    assert "src=" not in page.partition("<main")[2]


def test_trying_operations(pages: Pages) -> None:
    """API-2: operations that read are called with the rights of the session; none that changes or shows a secret."""
    alice, root = pages.visitor("alice"), pages.visitor("root")
    assert 'action="/apis/try"' in alice.get("/apis/reference")
    said = html.unescape(alice.get("/apis/try?operation=Certificates.list&limit=5&q=&status="))
    assert "Answer 200" in said
    assert '"items": [' in said
    for query, status in (
        ("operation=Certificates.list&limit=101", 400),
        ("operation=Certificates.list&limit=x", 400),
        ("operation=Certificates.list&status=nonsense", 400),
        ("operation=Certificates.list&cursor=%3Cb%3E", 400),
        ("operation=Certificates.get", 400),
        ("operation=Certificates.get&path-id=%3Cscript%3E", 404),
        ("operation=Certificates.get&path-id=999999", 404),
        ("operation=Users.list", 403),
        ("operation=Certificates.delete&path-id=1", 404),
        ("operation=ChallengePasswords.password&path-id=1", 404),
        ("operation=Certificates.download&path-id=1", 404),
        ("operation=Reports.audit", 404),
        ("operation=", 404),
    ):
        response = alice.request("GET", f"/apis/try?{query}")
        assert response.status == status, query
        assert "<script>" not in response.body.decode().partition("<main")[2]
    assert '"username": "alice"' in html.unescape(root.get("/apis/try?operation=Users.list"))
    tried = Trials(api_routes(pages.stack.app)).names
    assert {"Certificates.list", "Statistics.get", "Events.list"} <= tried
    assert not {name for name in tried if "password" in name.lower() and "." in name and name.endswith("password")}


def test_search_in_the_reference(pages: Pages) -> None:
    """API-2: operations are found by words of their method, path, summary and group; parameters are described."""
    alice = pages.visitor("alice")
    page = alice.get("/apis/reference?q=POST+revocation")
    assert 'id="post-api-v1-certificates-id-revocation"' in page
    assert 'id="get-api-v1-certificates"' not in page
    page = alice.get("/apis/reference?q=get+/api/v1/keys")
    assert "The next_cursor of the previous page." in text_of(page)
    assert "Only objects with this type." in text_of(page)
    assert "No operation matches “<b>”" in text_of(alice.get("/apis/reference?q=%3Cb%3E"))


def test_every_parameter_is_described(pages: Pages) -> None:
    """API-2: what a parameter does stands in the OpenAPI document, for readers and generated clients."""
    document = describe(api_routes(pages.stack.app))
    parameters = [
        parameter
        for methods in document["paths"].values()
        for operation in methods.values()
        for parameter in operation.get("parameters", ())
    ]
    assert parameters
    assert all(re.fullmatch(r"[A-Z].*\.", parameter["description"]) for parameter in parameters)


def test_descriptions_of_schemas(pages: Pages) -> None:
    """API-2: they are Markdown; the fields of docstrings describe the members, and pages show code as code."""
    schemas = describe(api_routes(pages.stack.app))["components"]["schemas"]
    texts = [
        text
        for schema in schemas.values()
        for text in (schema.get("description"), *(one.get("description") for one in schema["properties"].values()))
        if text is not None
    ]
    assert len(texts) > len(schemas)
    assert [text for text in texts if not text or "``" in text or re.search(":[a-z]+ ?[a-z_]*:", text)] == []
    assert schemas["Finding"]["properties"]["code"]["description"].startswith("Names the rule: `pikachu.…`")
    page = pages.visitor("alice").get("/apis/reference")
    assert "`" not in text_of(re.sub("(?s)<pre.*?</pre>", "", page))


def test_links_of_the_reference_lead_somewhere(pages: Pages) -> None:
    """Each #name is there, once."""
    page = visit(pages, "ca.example.com", "/apis/reference")
    names = re.findall(r'\bid="([^"]*)"', page)
    assert len(names) == len(set(names))
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(names)
