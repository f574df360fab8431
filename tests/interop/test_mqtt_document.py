"""docs/mqtt.md: its commands against a real Mosquitto (MQT-1, MQT-2)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pikachu.config.editing import set_key
from tests.interop.test_status_clients import process
from tests.support.interop import require
from tests.support.ports import free_ports
from tests.support.server import LISTENERS, wait_until
from tests.support.site import Site, empty_site

# It starts a dozen programs one after the other.
pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(900)]

TEXT = (Path(__file__).parents[2] / "docs" / "mqtt.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


class Reader:
    """Somebody who does what the document says.

    :param site: the folder to work in.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        broker, *own = free_ports(1 + len(LISTENERS))
        ports = dict(zip(LISTENERS, own, strict=True))
        self._ports = {"8883": broker, "8080": ports["http"]}
        self.broker = broker
        for name, (section, key) in LISTENERS.items():
            set_key(site.path("config.ini"), section, key, str(ports[name]))
        set_key(site.path("config.ini"), "DEFAULT", "listen", "127.0.0.1")

    def adapt(self, text: str) -> str:
        """Replace the document's ports by those of this test, and take a small RSA key."""
        for port, ours in self._ports.items():
            text = re.sub(rf"\b{port}\b", str(ours), text)
        text = text.replace("pikachu init", "pikachu init --rsa-bits 2048")
        return re.sub(r"^listener (\d+)$", r"listener \1 127.0.0.1", text, flags=re.MULTILINE)

    def shell(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run a block of commands."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.adapt(text)],
            cwd=self.site.folder,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def do(self, kind: str, text: str) -> None:
        """Do what a block says."""
        if kind == "sh":
            done = self.shell(text)
            assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        elif kind == "ini":
            self.site.configure(self.adapt(text))
        else:
            self.site.write(kind, self.adapt(text))


@pytest.fixture
def reader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Reader]:
    require("mosquitto", "mosquitto_pub", "mosquitto_sub", "curl", "openssl", "bash")
    yield Reader(empty_site(tmp_path, capsys))
    if (tmp_path / "pikachu.pid").exists():
        os.kill(int((tmp_path / "pikachu.pid").read_text()), signal.SIGKILL)


def wait_until_quiet(folder: Path) -> None:
    """Wait until the agent has what the server published on its connection.

    Mosquitto 2.0.11 sends nothing to a client for which it reads its access list again before the subscription.
    """
    log, state = folder / "var/log/pikachu.log", folder / "crl.pem.json"
    wait_until(lambda: "Connected with the MQTT broker" in log.read_text(), "the server is connected")
    wait_until(lambda: time.time() - state.stat().st_mtime > 2, "the agent has installed all CRLs")


def test_from_nothing_to_a_broker(reader: Reader) -> None:
    """All blocks in order; where it says so, broker and agent are started."""
    folder = reader.site.folder
    blocks = BLOCK.findall(SECTIONS["From nothing to a broker"])
    publishes = ""
    with ExitStack() as running:
        for kind, text in blocks:
            if kind == "text":
                if os.geteuid() == 0:
                    path = folder / "mosquitto.conf"
                    path.write_text(f"user root\n{path.read_text()}")
                commands = [line.split() for line in text.splitlines()]
                assert [command[0] for command in commands] == ["mosquitto", "pikachu"]
                running.enter_context(process("env", "-C", folder, *commands[0], port=reader.broker))
                agent = subprocess.Popen(
                    [Path(sys.executable).with_name("pikachu"), *commands[1][1:]],
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                running.callback(agent.wait, 30)
                running.callback(agent.terminate)
                wait_until(lambda: '"reload_due": false' in (folder / "crl.pem.json").read_text(), "the agent works")
                continue
            if text.startswith("mosquitto_pub"):
                publishes = text
            if text.startswith("reader="):
                wait_until_quiet(folder)
            reader.do(kind, text)
        wait_until(lambda: reader.shell(publishes).returncode != 0, "the device is refused")
    document = json.loads((folder / "revoked.json").read_bytes())
    revoked = subprocess.run(
        ["openssl", "x509", "-in", folder / "pump-1.crt", "-noout", "-serial"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert f"serial={document['serial'].upper()}" == revoked.replace("serial=0", "serial=")
    assert (document["seq"], document["reason"]) == (1, "keyCompromise")
    assert list(document) == list(json.loads(dict(BLOCK.findall(SECTIONS["Revocation messages"]))["revoked"]))
