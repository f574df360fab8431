"""Mosquitto with certificates and CRLs of this CA, pushed and downloaded by ``pikachu crl-agent`` (MQT-1, MQT-2)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from pikachu.cli.session import done
from pikachu.core.model.people import SYSTEM, AccountState, Role
from tests.interop.test_status_clients import process
from tests.support.est import PASSWORD
from tests.support.fleet import basic
from tests.support.interop import missing, require
from tests.support.pki import Identity, make_csr
from tests.support.ports import free_port
from tests.support.rotation import RotatedServer, certificate_of, rotated_server
from tests.support.server import wait_until

pytestmark = pytest.mark.interop

PIKACHU = Path(sys.executable).with_name("pikachu")
PLUGINS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib")


class Site:
    """A CA with a broker and its agent.

    :ivar rotated: the CA.
    """

    def __init__(self, rotated: RotatedServer, port: int) -> None:
        self.rotated = rotated
        self.folder = rotated.folder
        self.port = port
        self.crl_file = self.folder / "broker-crl.pem"
        (self.folder / "chain.pem").write_bytes(rotated.get("/ca/rsa/chain.pem"))
        self.write("publisher", rotated.enroll("REST"))
        self.write("agent", rotated.enroll("REST"))
        key, request = make_csr(subject="localhost", sans=["DNS:localhost", "IP:127.0.0.1"])
        answer = rotated.est_post("simpleenroll", request, headers=basic("alice", PASSWORD))
        self.write("broker", Identity(key, certificate_of(answer), None))
        self._processes = ExitStack()

    def write(self, name: str, identity: Identity) -> tuple[Path, Path]:
        """Write a certificate and its key."""
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate.write_bytes(identity.pem)
        key.write_bytes(identity.key_pem)
        return certificate, key

    # --- the broker ----------------------------------------------------------------------------

    def configure_broker(self, *more: str) -> Path:
        """Return Mosquitto's configuration."""
        path = self.folder / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1",
            "user root",
            f"cafile {self.folder / 'chain.pem'}",
            f"certfile {self.folder / 'broker.crt'}",
            f"keyfile {self.folder / 'broker.key'}",
            f"crlfile {self.crl_file}",
            "require_certificate true",
            "use_identity_as_username true",
            f"pid_file {self.folder / 'mosquitto.pid'}",
            f"log_dest file {self.folder / 'mosquitto.log'}",
            *more,
        ]
        path.write_text("\n".join(lines) + "\n")
        return path

    @contextmanager
    def broker(self, *more: str) -> Iterator[subprocess.Popen[bytes]]:
        """A running broker."""
        with process("mosquitto", "-c", self.configure_broker(*more), port=self.port) as running:
            yield running

    def accepts(self, identity: Identity) -> bool:
        """Whether the broker lets a client in, which publishes one message."""
        certificate, key = self.write("client", identity)
        found = subprocess.run(
            [
                *("mosquitto_pub", "-h", "localhost", "-p", str(self.port)),
                *("--cafile", self.rotated.server.folder / "root.crt"),
                *("--cert", certificate, "--key", key, "-t", "hello", "-m", "hi", "-q", "1"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert found.returncode in (0, 1, 7, 14), found.stderr
        return found.returncode == 0

    @contextmanager
    def session(self, identity: Identity, name: str) -> Iterator[Session]:
        """A client that stays connected."""
        certificate, key = self.write(name, identity)
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            running = subprocess.Popen(
                [
                    *("stdbuf", "-oL", "mosquitto_sub", "-d", "-h", "localhost", "-p", str(self.port), "-t", "hello"),
                    *("--cafile", self.rotated.server.folder / "root.crt", "--cert", certificate, "--key", key),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            session = Session(running, log)
            wait_until(lambda: session.connections == 1, f"{name} is connected")
            yield session
        finally:
            running.terminate()
            running.wait(20)

    # --- the agent -----------------------------------------------------------------------------

    def configure_agent(self, *more: str, push: bool = True) -> Path:
        """Return the agent's configuration."""
        path = self.folder / "agent.ini"
        http = self.rotated.server.ports["http"]
        lines = [
            "[AGENT]",
            f"ca_certificates = {self.folder / 'chain.pem'}",
            f"crl_file = {self.crl_file}",
            f"crl_urls = http://127.0.0.1:{http}/crl/rsa.pem",
            f"pid_file = {self.folder / 'mosquitto.pid'}",
            f"metrics_file = {self.folder / 'agent.prom'}",
            *more,
        ]
        if push:
            lines += [
                "mqtt_host = localhost",
                f"mqtt_port = {self.port}",
                f"mqtt_ca_cert = {self.rotated.server.folder / 'root.crt'}",
                f"mqtt_client_cert = {self.folder / 'agent.crt'}",
                f"mqtt_client_key = {self.folder / 'agent.key'}",
            ]
        path.write_text("\n".join(lines) + "\n")
        return path

    def run_agent(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the agent until it ends."""
        command: list[str | Path] = [PIKACHU, "crl-agent", "--config", self.folder / "agent.ini", *options]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )

    def install_first(self) -> None:
        """Install the first CRL, without which Mosquitto does not start."""
        self.configure_agent(push=False)
        self.run_agent("--once")
        assert self.crl_file.stat().st_size

    @contextmanager
    def agent(self, *more: str, push: bool = True) -> Iterator[subprocess.Popen[bytes]]:
        """A running agent, which is connected."""
        self.configure_agent(*more, push=push)
        with (self.folder / "agent.log").open("ab") as output:
            running = subprocess.Popen(
                [PIKACHU, "crl-agent", "--config", self.folder / "agent.ini"],
                stdin=subprocess.DEVNULL,
                stderr=output,
            )
        try:
            yield running
        finally:
            if running.poll() is None:
                running.terminate()
                assert running.wait(30) == 0

    def counters(self) -> dict[str, int]:
        """The agent's counters."""
        counters: dict[str, int] = json.loads((self.folder / "broker-crl.pem.json").read_bytes())["counters"]
        return counters

    def is_pushed(self) -> bool:
        """Whether the server has published everything and the agent hears it."""
        log = self.folder / "agent.log"
        return self.rotated.server.log.count("Connected with the MQTT broker") > 0 and "Connected with the broker" in (
            log.read_text() if log.exists() else ""
        )

    # --- the CA --------------------------------------------------------------------------------

    def revoke(self, identity: Identity) -> None:
        """Revoke a certificate over REST."""
        body = json.dumps({"serial": f"{identity.certificate.serial_number:x}", "reason": "keyCompromise"}).encode()
        headers = {"Authorization": f"Bearer {self.rotated.token}", "Content-Type": "application/json"}
        answer = self.rotated.server.ask("https", "/api/v1/revocations", "POST", body, headers)
        assert answer.status == 200, answer

    def installed(self) -> list[x509.CertificateRevocationList]:
        """The CRLs of the broker's file."""
        end = b"-----END X509 CRL-----\n"
        return [x509.load_pem_x509_crl(part + end) for part in self.crl_file.read_bytes().split(end) if part]

    def is_listed(self, identity: Identity) -> bool:
        """Whether the broker's file lists a certificate."""
        serial = identity.certificate.serial_number
        return any(crl.get_revoked_certificate_by_serial_number(serial) is not None for crl in self.installed())


class Session:
    """A client that stays connected."""

    def __init__(self, running: subprocess.Popen[bytes], log: Path) -> None:
        self._running = running
        self._log = log

    @property
    def connections(self) -> int:
        """How often the broker has let it in."""
        return self._log.read_text().count("received SUBACK")

    @property
    def is_undisturbed(self) -> bool:
        """Whether it was connected all the time."""
        return self._running.poll() is None and self._log.read_text().count("sending CONNECT") == 1


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    require("mosquitto", "mosquitto_pub", "mosquitto_sub")
    port = free_port()
    changes = {
        ("MQTT", "enabled"): "true",
        ("MQTT", "host"): "localhost",
        ("MQTT", "port"): str(port),
        ("MQTT", "ca_cert_path"): "root.crt",
        # They are enrolled when the server runs.
        ("MQTT", "client_cert"): str(tmp_path / "publisher.crt"),
        ("MQTT", "client_key"): str(tmp_path / "publisher.key"),
    }
    with rotated_server(tmp_path, changes=changes) as rotated:
        made = Site(rotated, port)
        made.install_first()
        yield made


def test_a_revoked_device_is_refused_at_once(site: Site) -> None:
    """One device by SCEP, one by EST; the CRL is pushed, and the other device's session never notices."""
    revoked, other = site.rotated.enroll("SCEP"), site.rotated.enroll("EST")
    with site.broker(), site.agent("interval = 1h"), site.session(other, "other") as session:
        wait_until(site.is_pushed, "server and agent are connected")
        assert site.accepts(revoked)
        assert site.accepts(other)
        downloads = site.counters()["downloads"]
        site.revoke(revoked)
        wait_until(lambda: not site.accepts(revoked), "Mosquitto refuses it")
        assert site.is_listed(revoked)
        assert site.accepts(other)
        assert session.is_undisturbed
        # Nothing but the push can have told it.
        wait_until(lambda: site.counters()["messages"] == 1, "the message has arrived")
        assert site.counters()["downloads"] == downloads
        assert site.counters()["gaps"] == 0
    assert "pikachu_agent_crl_entries" in (site.folder / "agent.prom").read_text()


def test_outages_lose_nothing(site: Site) -> None:
    """Revocations while the broker is down, and while the agent is: the retained CRL catches up with both."""
    first, second, third = (site.rotated.enroll("EST") for _ in range(3))
    with site.agent("interval = 1h") as agent:
        with site.broker():
            wait_until(site.is_pushed, "server and agent are connected")
            site.revoke(first)
            wait_until(lambda: site.is_listed(first), "the first one is listed")
        site.revoke(second)
        with site.broker():
            wait_until(lambda: not site.accepts(second), "the second one is refused", 60)
            agent.send_signal(signal.SIGKILL)
            agent.wait(20)
            site.revoke(third)
            wait_until(lambda: site.rotated.is_listed(third), "the CA lists the third one")
            assert not site.is_listed(third)
            with site.agent("interval = 1h"):
                wait_until(lambda: not site.accepts(third), "the third one is refused")
                assert not site.accepts(first)
                assert not site.accepts(second)


def test_polling_without_push(site: Site) -> None:
    """An agent that only downloads; --check says what is installed."""
    device = site.rotated.enroll("EST")
    with site.broker(), site.agent("interval = 1s", push=False):
        assert site.accepts(device)
        site.revoke(device)
        wait_until(lambda: not site.accepts(device), "Mosquitto refuses it")
    checked = site.run_agent("--check")
    assert checked.returncode == 0, checked.stdout
    assert "with 1 entries" in checked.stdout


def test_forged_messages_change_nothing(site: Site) -> None:
    """Forgers who may publish on the CA's topics can neither remove nor replace a CRL."""
    device = site.rotated.enroll("EST")
    with site.broker(), site.agent("interval = 1h"):
        wait_until(site.is_pushed, "server and agent are connected")
        site.revoke(device)
        wait_until(lambda: site.is_listed(device), "it is listed")
        before = site.crl_file.read_bytes()
        key = site.rotated.current().extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
        certificate, private_key = site.write("forger", site.rotated.enroll("EST"))

        def publish(kind: str, *options: str) -> None:
            subprocess.run(
                [
                    *("mosquitto_pub", "-h", "localhost", "-p", str(site.port), "-q", "1"),
                    *("--cafile", site.rotated.server.folder / "root.crt", "--cert", certificate, "--key", private_key),
                    *("-t", f"pikachu/v1/rsa/{key}/{kind}", *options),
                ],
                check=True,
                timeout=20,
            )

        publish("crl", "-n", "-r")
        publish("crl", "-m", "garbage", "-r")
        publish("revoked", "-m", '{"v":1,"seq":9}')
        elsewhere = {"url": "http://elsewhere.example.com/", "sha256": "0" * 64, "crl_number": 99}
        publish("crl-ref", "-m", json.dumps({**elsewhere, "next_update": "2030-01-01T00:00:00Z"}))
        wait_until(lambda: site.counters()["crls_rejected"] >= 2, "the forged CRLs were refused")
        wait_until(lambda: site.counters()["messages_rejected"] == 1, "the forged message was refused")
        assert site.crl_file.read_bytes() == before
        assert not site.accepts(device)


def test_sessions_of_revoked_clients_end(site: Site) -> None:
    """Mosquitto keeps them; with Dynamic Security, the agent ends those of the revoked client only."""
    plugins = (Path(folder) / "mosquitto_dynamic_security.so" for folder in PLUGINS)
    plugin = next((path for path in plugins if path.exists()), None)
    if plugin is None:
        missing("Mosquitto's plug-in Dynamic Security is not installed")
    revoked, other = site.rotated.enroll("EST"), site.rotated.enroll("EST")
    with site.rotated.server.application() as app:
        account = ("auditor", "auditor@example.com", Role.AUDITOR, AccountState.ACTIVE, PASSWORD)
        auditor = done(app.accounts.add_user(SYSTEM, *account))
        token = done(app.tokens.create(SYSTEM, auditor.id, "agent"))[1]
    (site.folder / "token").write_text(token)
    own = [
        x509.load_pem_x509_certificate((site.folder / f"{name}.crt").read_bytes()) for name in ("agent", "publisher")
    ]
    clients = [
        one.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        for one in (revoked.certificate, other.certificate, *own)
    ]
    acls = [
        {"acltype": kind, "topic": "#", "allow": True}
        for kind in ("publishClientSend", "publishClientReceive", "subscribePattern", "unsubscribePattern")
    ]
    acls.append({"acltype": "publishClientSend", "topic": "$CONTROL/#", "allow": True})
    security = {
        "roles": [{"rolename": "all", "acls": acls}],
        "clients": [{"username": name, "roles": [{"rolename": "all"}]} for name in clients],
        "defaultACLAccess": {},
    }
    (site.folder / "security.json").write_text(json.dumps(security))
    sessions = (
        "sessions = dynamic-security",
        f"api_url = https://localhost:{site.rotated.server.ports['https']}",
        f"api_token_file = {site.folder / 'token'}",
        f"api_ca_cert = {site.rotated.server.folder / 'root.crt'}",
        "interval = 1h",
    )
    broker = site.broker(f"plugin {plugin}", f"plugin_opt_config_file {site.folder / 'security.json'}")
    with broker, site.agent(*sessions), site.session(revoked, "revoked") as ended, site.session(other, "other") as kept:
        wait_until(site.is_pushed, "server and agent are connected")
        site.revoke(revoked)
        wait_until(lambda: not ended.is_undisturbed, "the session ends")
        assert kept.is_undisturbed
        assert site.counters()["sessions_ended"] == 1
