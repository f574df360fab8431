"""The agent between messages, downloads and its files (MQT-1)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pikachu.agent.agent import Agent
from pikachu.agent.broker_files import BrokerFile
from pikachu.agent.downloads import download, same_origin
from pikachu.agent.settings import load_settings
from pikachu.core.errors import ConfigError, PikachuError
from pikachu.core.model.revocation_messages import RevocationMessage
from pikachu.messaging.mqtt.client import BrokerSettings
from pikachu.messaging.mqtt.messages import CRLReference, encode_reference
from pikachu.messaging.mqtt.subscription import Arrival, Subscription
from tests.support.pki import brought
from tests.support.server import wait_until
from tests.unit.messaging.test_messages import CA, ISSUER, MESSAGE, NOW, OTHER_CA, encode

BASE = f"pikachu/v1/ec/{ISSUER.key_identifier.hex()}"


class Site:
    """An agent, the server that it downloads from, and what a broker sends.

    :ivar answers: status, further header line and body by path.
    :ivar asked: the paths that were downloaded.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self.answers: dict[str, tuple[int, str, bytes]] = {}
        self.asked: list[str] = []
        self.crl_file = folder / "crl.pem"
        (folder / "ca.pem").write_bytes(CA.pem)
        self.publish(brought(CA, 5))

    def publish(self, crl: bytes) -> None:
        """Let the CA's newest CRL be another one."""
        self.answers["/crl"] = (200, "X-Nothing: 0", crl)

    def configure(self, *lines: str) -> Path:
        path = self.folder / "agent.ini"
        common = ["[AGENT]", "ca_certificates = ca.pem", "crl_file = crl.pem", f"crl_urls = {self.url}/crl"]
        path.write_text("\n".join([*common, "mqtt_host = localhost", "max_crl_size = 64K", *lines]) + "\n")
        return path

    def start(self, *lines: str) -> Agent:
        """An agent that has loaded its files, and made its first download."""
        agent = Agent(load_settings(self.configure(*lines), {})[0], lambda: NOW, SilentBroker)
        agent.load()
        agent.step()
        return agent

    def numbers(self) -> list[int]:
        """The numbers of the installed CRLs, as the state has them."""
        state = json.loads((self.folder / "crl.pem.json").read_bytes())
        return [one["number"] for one in state["cas"].values()]


class SilentBroker(Subscription):
    """A connection on which nothing arrives by itself."""

    def __init__(self, settings: BrokerSettings, topics: Sequence[str], max_size: int) -> None:
        super().__init__(settings, topics, max_size)
        self.problem = ""

    def start(self) -> None:
        """Make no connection."""

    def next(self, timeout: float) -> Arrival | None:
        """Return what waits, without waiting."""
        return super().next(0)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            status, header, body = made.answers.get(self.path, (404, "X-Nothing: 0", b""))
            self.send_response(status)
            self.send_header(*header.split(": "))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Site(tmp_path, server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


def numbered(seq: int) -> Arrival:
    message: RevocationMessage = replace(MESSAGE, seq=seq, serial=seq)
    return Arrival(f"{BASE}/revoked", encode(message))


@pytest.mark.parametrize(
    ("sequence", "messages", "repeated", "gaps"),
    [
        ([1, 2, 3], 3, 0, 0),
        # The first one that an agent ever sees may have any number.
        ([7, 8], 2, 0, 0),
        ([1, 1, 2, 2, 1], 2, 3, 0),
        ([1, 3], 2, 0, 1),
        ([1, 5, 9, 3], 3, 1, 2),
    ],
)
def test_gaps_and_repetitions(site: Site, sequence: list[int], messages: int, repeated: int, gaps: int) -> None:
    """A gap makes the agent download; a repetition changes nothing."""
    agent = site.start()
    before = len(site.asked)
    for seq in sequence:
        agent.receive(numbered(seq))
    counters = agent.state.counters
    assert (counters["messages"], counters["messages_repeated"], counters["gaps"]) == (messages, repeated, gaps)
    agent.step()
    assert len(site.asked) - before == (1 if gaps else 0)


def test_the_sequence_outlives_the_agent(site: Site) -> None:
    site.start().receive(numbered(4))
    again = site.start()
    again.receive(numbered(4))
    again.receive(numbered(6))
    assert (again.state.counters["messages_repeated"], again.state.counters["gaps"]) == (1, 1)


def reference(site: Site, path: str, number: int = 9) -> Arrival:
    url = path if "://" in path else site.url + path
    return Arrival(f"{BASE}/crl-ref", encode_reference(CRLReference(url, "ab" * 32, number, NOW)))


REFERENCES: dict[str, tuple[str, tuple[int, str, bytes]]] = {
    "another host": ("http://elsewhere.example.com/crl", (200, "X: 0", b"")),
    "a file": ("file:///etc/passwd", (200, "X: 0", b"")),
    "a redirect": ("/x", (302, "Location: /crl2", b"")),
    "huge": ("/x", (200, "X: 0", bytes(70_000))),
    "not there": ("/y", (200, "X: 0", b"")),
    "an error's page": ("/x", (500, "X: 0", brought(CA, 9))),
    "garbage": ("/x", (200, "X: 0", b"\x30\x03\x02\x01\x01")),
    "another CA's": ("/x", (200, "X: 0", brought(OTHER_CA, 9))),
    "an older one": ("/x", (200, "X: 0", brought(CA, 4))),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_references_that_lead_nowhere(site: Site, name: str) -> None:
    """Nobody signs them: nothing is installed, and no other server is asked."""
    url, site.answers["/x"] = REFERENCES[name]
    site.answers["/crl2"] = (200, "X: 0", brought(CA, 9))
    agent = site.start()
    agent.receive(reference(site, url))
    agent.step()
    assert site.numbers() == [5]
    assert "/crl2" not in site.asked


def test_a_reference_is_followed(site: Site) -> None:
    """The CRL's signature counts: a newer one than that of the hash is welcome, too."""
    site.answers["/x"] = (200, "X: 0", brought(CA, 9))
    agent = site.start()
    agent.receive(reference(site, "/x"))
    agent.step()
    assert site.numbers() == [9]
    agent.receive(reference(site, "/x"))
    agent.step()
    assert site.asked.count("/x") == 1


def test_many_references_cause_one_download(site: Site) -> None:
    agent = site.start()
    for number in range(20, 40):
        agent.receive(reference(site, f"/{number}", number))
        agent.step()
    assert [path for path in site.asked if path != "/crl"] == ["/20"]


@pytest.mark.parametrize(
    "payload",
    [b"", b"garbage", brought(OTHER_CA, 9), brought(CA, 9, delta=True), brought(CA, 4), brought(CA, 5)],
    ids=["empty", "garbage", "another CA of this name", "a delta", "older", "the same"],
)
def test_pushed_crls_that_are_not_taken(site: Site, payload: bytes) -> None:
    """The file stays, and the next download is not put off: forgers could do that for ever."""
    agent = site.start("interval = 1s")
    before = site.crl_file.read_bytes()
    asked = len(site.asked)
    end = threading.Event()
    while not end.wait(0.1) and len(site.asked) == asked:
        agent.receive(Arrival(f"{BASE}/crl", payload))
        agent.step()
    assert site.crl_file.read_bytes() == before


@pytest.mark.parametrize("state", [None, b"", b"[]", b'{"cas": 1}', b'{"cas":{},"reload_due":false}'])
def test_an_old_state_file_lets_no_old_crl_in(site: Site, state: bytes | None) -> None:
    """The installed file counts as well."""
    site.start()
    before = site.crl_file.read_bytes()
    (site.folder / "crl.pem.json").unlink()
    if state is not None:
        (site.folder / "crl.pem.json").write_bytes(state)
    site.publish(brought(CA, 4))
    site.start()
    assert site.numbers() == [5]
    assert site.crl_file.read_bytes() == before


def test_a_link_is_refused_and_never_written_through(site: Site) -> None:
    """At the start it is an error; later, the link itself is replaced."""
    target = site.folder / "target"
    target.write_bytes(b"precious")
    site.crl_file.symlink_to(target)
    with pytest.raises(ConfigError, match="symbolic link"):
        load_settings(site.configure(), {})
    BrokerFile(site.crl_file, None, "mosquitto", ()).write(lambda: [b"new"])
    assert target.read_bytes() == b"precious"
    assert site.crl_file.read_bytes() == b"new"


PIDS: dict[str, Callable[[int], str]] = {
    "another process": str,
    "empty": lambda _: "",
    "text": lambda _: "mosquitto",
    "the first process": lambda _: "1",
    "all processes": lambda _: "-1",
    "the group": lambda _: "0",
    "many digits": lambda _: "9" * 5000,
    "a path": lambda pid: f"../{pid}",
}


@pytest.mark.parametrize("name", PIDS)
def test_only_the_broker_is_signalled(site: Site, name: str) -> None:
    site.crl_file.write_bytes(b"x")
    pid_file = site.folder / "pid"
    # A caller that ignores SIGHUP, as nohup does, would have it ignored here, too.
    other = subprocess.Popen(["env", "--default-signal", "sleep", "60"])
    try:
        wait_until(lambda: Path(f"/proc/{other.pid}/comm").read_text() == "sleep\n", "it has its name")
        pid_file.write_text(PIDS[name](other.pid))
        with pytest.raises(PikachuError):
            BrokerFile(site.crl_file, pid_file, "mosquitto", ()).reload()
        assert other.poll() is None
        pid_file.write_text(f"{other.pid}\n")
        BrokerFile(site.crl_file, pid_file, "sleep", ()).reload()
        assert other.wait(20) == -signal.SIGHUP
    finally:
        other.kill()
        other.wait()


def test_nothing_is_signalled_without_a_file(site: Site) -> None:
    """Mosquitto lets everybody in then."""
    (site.folder / "pid").write_text(str(os.getpid()))
    for content in (None, b""):
        if content is not None:
            site.crl_file.write_bytes(content)
        with pytest.raises(PikachuError, match="missing or empty"):
            BrokerFile(site.crl_file, site.folder / "pid", "python", ()).reload()


def test_a_slow_answer_ends(site: Site) -> None:
    """A server that says less than it has announced."""
    site.answers["/short"] = (200, "Content-Length: 99", b"x")
    with pytest.raises(PikachuError):
        download(f"{site.url}/short", limit=1000, timeout=0.5)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://ca.example.com/other", True),
        ("http://ca.example.com:80/", True),
        ("http://CA.example.com/", True),
        ("http://ca.example.com:8080/", False),
        ("https://ca.example.com/", False),
        ("http://ca.example.com@elsewhere.example.com/", False),
        ("http://ca.example.com.elsewhere.example.com/", False),
        ("file:///etc/passwd", False),
        ("//ca.example.com/", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_same_origin(url: str, expected: bool) -> None:
    assert same_origin(url, ("http://ca.example.com/crl/ec.pem",)) is expected


SETTINGS: dict[str, tuple[str, str]] = {
    "no CAs": ("crl_file = x\ncrl_urls = http://ca.example.com/", "ca_certificates"),
    "no file": ("ca_certificates = x\ncrl_urls = http://ca.example.com/", "crl_file"),
    "no source": ("ca_certificates = x\ncrl_file = x", "crl_urls"),
    "an address of a file": ("ca_certificates = x\ncrl_file = x\ncrl_urls = file:///x", "crl_urls"),
    "two ways to reload": ("{}pid_file = x\ncommand = true", "command"),
    "a broker elsewhere without TLS": ("{}mqtt_host = broker.example.com", "mqtt_ca_cert"),
    "a certificate without its key": ("{}mqtt_host = localhost\nmqtt_client_cert = x", "mqtt_client_key"),
    "a topic with a wildcard": ("{}topic_prefix = a/#", "topic_prefix"),
    "sessions without a broker": ("{}sessions = dynamic-security", "mqtt_host"),
    "sessions without an API": ("{}mqtt_host = localhost\nsessions = dynamic-security", "api_url"),
    "a token in the clear": (
        "{}mqtt_host = localhost\nsessions = dynamic-security\napi_token_file = x\napi_url = http://ca.example.com",
        "api_url",
    ),
    "an unknown way to end sessions": ("{}sessions = kill", "sessions"),
    "no time between downloads": ("{}interval = 0", "interval"),
    "a small size": ("{}max_crl_size = 1", "max_crl_size"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_are_refused(tmp_path: Path, name: str) -> None:
    """The message names the key."""
    text, key = SETTINGS[name]
    least = "ca_certificates = x\ncrl_file = x\ncrl_urls = http://ca.example.com/\n"
    (tmp_path / "agent.ini").write_text("[AGENT]\n" + text.replace("{}", least) + "\n")
    with pytest.raises(ConfigError, match=key):
        load_settings(tmp_path / "agent.ini", {})
