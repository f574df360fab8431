"""ChatPikachu with a language model that is not trusted (UI-11): a real server asks one over HTTPS."""

from __future__ import annotations

import contextlib
import html
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from pikachu.core.model.people import SYSTEM, AccountState, Role
from tests.support.deferreds import result_of
from tests.support.language_model import question_for
from tests.support.ports import free_ports
from tests.support.server import ROOT, Client, Server, accepts, end, make_server, wait_until
from tests.support.visitor import text_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PASSWORD: Final = "correct horse battery"
FALLBACK: Final = "this is the answer of the guide."
API_KEY: Final = "sk-0123456789abcdef0123456789abcdef"


@dataclass
class Chat:
    """A browser that asks."""

    client: Client
    cookies: dict[str, str] = field(default_factory=dict)
    csrf: str = ""

    def send(self, path: str, fields: dict[str, str] | None = None) -> tuple[int, str]:
        """Return status and body."""
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        body = None
        if fields is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode({**fields, "csrf": self.csrf}).encode()
        self.client.connection.request("GET" if body is None else "POST", path, body, headers)
        answer = self.client.connection.getresponse()
        for line in answer.headers.get_all("Set-Cookie") or []:
            name, _, rest = line.partition("=")
            self.cookies[name] = rest.partition(";")[0]
        text = answer.read().decode()
        found = re.search(r'name="csrf" value="([^"]*)"', text)
        self.csrf = html.unescape(found[1]) if found else self.csrf
        return answer.status, text

    def ask(self, question: str) -> str:
        """Return the HTML of the answer, as without scripts."""
        status, page = self.send("/chat", {"question": question})
        assert status == 200
        assert 'aria-label="Answer"' in page
        return page

    def stream(self, question: str) -> list[tuple[str, Any]]:
        """Return the events of an answer."""
        status, body = self.send("/chat/stream", {"question": question})
        assert status == 200
        return [(name, json.loads(data)) for name, data in re.findall(r"event: (\w+)\ndata: (.*)\n\n", body)]


@dataclass
class World:
    """The server, the requests that the model got, and who asks."""

    server: Server
    requests: Path
    alice: Chat

    def last_request(self) -> dict[str, Any]:
        """Return the last request to the model."""
        document: dict[str, Any] = json.loads(self.requests.read_text("utf-8").splitlines()[-1])
        return document


def add_people(server: Server) -> None:
    """Add alice and bob, who has a certificate."""
    with server.application() as app:
        for name in ("alice", "bob"):
            result_of(
                app.accounts.add_user(SYSTEM, name, f"{name}@example.com", Role.USER, AccountState.ACTIVE, PASSWORD)
            )


@contextlib.contextmanager
def browser(server: Server, name: str) -> Iterator[Chat]:
    """Sign in."""
    with server.client() as client:
        chat = Chat(client)
        chat.send("/login")
        chat.send("/login", {"username": name, "password": PASSWORD, "next": "/"})
        chat.send("/chat")
        yield chat


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("model")
    port = free_ports(1)[0]
    (folder / "api_key").write_text(API_KEY + "\n", encoding="ascii")
    (folder / "api_key").chmod(0o600)
    server = make_server(
        folder,
        changes={
            ("CHAT", "endpoint"): f"https://localhost:{port}/v1/",
            ("CHAT", "model"): "small",
            ("CHAT", "api_key_file"): "api_key",
            ("CHAT", "ca_cert_path"): "root.crt",
            ("CHAT", "timeout"): "2s",
        },
    )
    requests = folder / "requests"
    command = [sys.executable, "-m", "tests.support.language_model", str(port), str(requests), "https.crt", "https.key"]
    model = subprocess.Popen([*command[:5], *(str(folder / name) for name in command[5:])], cwd=ROOT)
    try:
        add_people(server)
        server.start()
        wait_until(lambda: accepts(port), "the model listens")
        with browser(server, "alice") as alice:
            yield World(server, requests, alice)
    finally:
        end(server)
        model.kill()
        model.wait()


def test_composed(world: World) -> None:
    """The answer names its sources, which are links; the model gets passages, tools and the key, and streams."""
    page = world.alice.ask("How do I revoke a certificate?")
    assert 'This is about Certificates and signing: Revoking <a href="/help/certificates#revoking">[1]</a>.' in page
    assert "Composed by the language model at localhost" in text_of(page)
    request = world.last_request()
    assert request["path"] == "/v1/chat/completions"
    assert request["authorization"] == f"Bearer {API_KEY}"
    assert (request["model"], request["stream"], request["max_tokens"]) == ("small", True, 800)
    assert {tool["function"]["name"] for tool in request["tools"]} >= {"find_certificates", "crls", "commands"}


def test_streamed(world: World) -> None:
    """The page gets the sources first, and the text while it grows."""
    events = world.alice.stream("How do I revoke a certificate?")
    assert (events[0][0], events[-1][0]) == ("sources", "done")
    sources, done = events[0][1], events[-1][1]
    assert sources["passages"][0]["path"] == "/help/certificates#revoking"
    assert {"text": "[1]", "path": "/help/certificates#revoking"} in done["text"]
    assert done["note"] == ""
    whole = "".join(part["text"] for part in done["text"])
    assert all(whole.startswith(data["text"]) for name, data in events if name == "text")


def test_tools(world: World) -> None:
    """Tools answer what the account may see; their facts are shown with links."""
    page = world.alice.ask(question_for("tools"))
    assert "0 certificates expire within 7 days." in text_of(page)
    assert 'href="/certificates?status=valid&amp;expires=7d&amp;sort=not_after"' in page
    assert "The CRL of ec was issued on" in text_of(page)


@pytest.mark.parametrize(
    ("scenario", "says"),
    [
        ("unknown", ["There is no such tool."] * 3),
        (
            "arguments",
            ["not valid", "not valid", "takes: days", "not JSON", "not valid", "not valid", "takes", "takes"],
        ),
    ],
)
def test_calls_that_are_refused(world: World, scenario: str, says: list[str]) -> None:
    """Unknown tools and wrong arguments do nothing, and the model is told so."""
    page = text_of(world.alice.ask(question_for(scenario)))
    answers = page.partition("Result:")[2].partition("Composed by")[0].split(" | ")
    assert len(answers) == len(says)
    for answer, text in zip(answers, says, strict=True):
        assert "error" in answer
        assert text in answer


def test_nothing_of_others(world: World) -> None:
    """Tools run with the rights of the account that asks."""
    page = text_of(world.alice.ask(question_for("others")))
    assert "Nothing that the user may see." in page
    assert "You have 0 valid" in page


FAILURES: Final = (
    *("flood", "many", "huge-text", "huge-line", "huge-call", "comments", "garbage", "binary", "array", "no-choices"),
    *("number", "null-choice", "bad-calls", "text-calls", "nested", "error", "empty", "break"),
    *("status", "redirect", "html", "slow", "hang", "header", "stays"),
)


@pytest.mark.parametrize("scenario", FAILURES)
def test_failures(world: World, scenario: str) -> None:
    """Whatever the model's server sends, the guide answers, with a note, in time."""
    page = world.alice.ask(question_for(scenario))
    assert FALLBACK in text_of(page)
    assert "/help/certificates#revoking" in page
    assert "Composed by" not in page


@pytest.mark.parametrize("scenario", ["header", "stays"])
def test_a_server_that_goes_on_sending_is_cut_off(world: World, scenario: str) -> None:
    """Before the time is over, and also where TLS would wait for its end of the connection."""
    gone = world.requests.with_suffix(".gone")
    before = gone.read_text("utf-8").split().count(scenario) if gone.exists() else 0
    assert "didn't answer" in text_of(world.alice.ask(question_for(scenario)))
    wait_until(lambda: gone.exists() and gone.read_text("utf-8").split().count(scenario) > before, "cut off")


def test_failures_are_streamed_too(world: World) -> None:
    """The page keeps the sources, and shows the note."""
    events = world.alice.stream(question_for("garbage"))
    assert events[-1][0] == "done"
    assert events[-1][1]["text"] == []
    assert FALLBACK in events[-1][1]["note"]


def test_markup_is_text(world: World) -> None:
    """No HTML, and no link but to this server's pages."""
    page = world.alice.ask(question_for("markup"))
    answer = page.partition('class="panel composed"')[2].partition("</div>")[0]
    assert "&lt;script&gt;" in answer
    assert not re.search("<(script|img|b)", answer)
    assert "evil.example.com/?q" not in answer
    assert "www.evil" not in answer
    assert "javascript:" not in answer
    assert "\u202e" not in answer
    assert "\u200b" not in answer
    assert set(re.findall('href="([^"]*)"', answer)) == {"/help/certificates#revoking"}
    assert "[99]" in answer


def test_lines_may_end_with_carriage_returns(world: World) -> None:
    """The form of server-sent events allows both."""
    assert "Lines may end so." in text_of(world.alice.ask(question_for("crlf")))


def test_secrets_stay_here(world: World) -> None:
    """A secret in the question is not sent, and the page says so."""
    token, challenge = "pik_0123456789abcdefghij", "0123456789abcdef0123456789abcdef"
    page = world.alice.ask(f"my token {token} and challenge {challenge} and password: hunter22 are refused, why?")
    assert "What looks like a secret in your question was not sent" in text_of(page)
    sent = json.dumps(world.last_request()["messages"])
    for secret in (token, challenge, "hunter22"):
        assert secret not in sent
    log = (world.server.folder / "pikachu.log").read_text("utf-8")
    assert not [secret for secret in (token, challenge, "hunter22", API_KEY) if secret in log]


def test_an_unknown_certificate_is_refused(world: World, tmp_path: Path) -> None:
    """TLS is verified: without the CA of its certificate, the model is not asked."""
    endpoint = f"https://localhost:{world.server.files.load().chat.endpoint.rpartition(':')[2]}"  # type: ignore[union-attr]
    server = make_server(tmp_path, changes={("CHAT", "endpoint"): endpoint, ("CHAT", "model"): "small"})
    try:
        add_people(server)
        server.start()
        before = world.requests.read_text("utf-8")
        with browser(server, "alice") as alice:
            assert FALLBACK in text_of(alice.ask("How do I revoke a certificate?"))
        assert world.requests.read_text("utf-8") == before
    finally:
        end(server)
