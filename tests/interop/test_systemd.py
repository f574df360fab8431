"""systemd: its own checks of the units, and a server on sockets that it passes (OPS-1)."""

from __future__ import annotations

import configparser
import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pikachu.config.loading import load
from tests.support.interop import require
from tests.support.server import DEADLINE, ROOT, Server, accepts, command, end, environment, make_server, wait_until

UNITS = ROOT / "deploy" / "systemd"
pytestmark = pytest.mark.interop


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    require(arguments[0])
    return subprocess.run(arguments, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", ["pikachu.service", "pikachu-healthcheck.service", "pikachu-crl-agent.service"])
def test_hardening(name: str) -> None:
    """OPS-1: systemd finds the services' exposure low."""
    done = _run("systemd-analyze", "security", "--offline=true", "--threshold=20", str(UNITS / name))
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_units_are_valid(tmp_path: Path) -> None:
    """OPS-1: systemd finds nothing wrong in any unit, once the programs are where they say."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("twistd", "pikachu"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    names = sorted(path.name for path in UNITS.iterdir())
    for name in names:
        text = (UNITS / name).read_text().replace("/opt/pikachu/bin", str(programs))
        (tmp_path / name).write_text(text)
    done = _run("systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in names))
    # Units of other packages may have findings of their own.
    assert not [line for line in done.stderr.splitlines() if "pikachu" in line], done.stderr


def test_the_configuration_for_the_units(tmp_path: Path) -> None:
    """OPS-1: the command of docs/deployment.md puts every file where the service may write."""
    text = (ROOT / "docs" / "deployment.md").read_text("utf-8")
    found = re.search(r"^sed -i .* (/etc/pikachu/config\.ini)$", text, re.MULTILINE)
    assert found
    path = tmp_path / "config.ini"
    path.write_text((ROOT / "config.ini").read_text("utf-8"))
    subprocess.run(shlex.split(found[0].replace(found[1], str(path))), check=True, timeout=60)
    config = load(path, {})
    files = [config.paths.db_path, config.paths.crl_path, config.https.ssl_cert, config.ca.root_key_path]
    assert all(str(file).startswith("/var/lib/pikachu/") for file in files)
    assert str(config.logging.log_file) == "/var/log/pikachu/pikachu.log"
    assert "= var/" not in path.read_text("utf-8")


def test_sockets_name_listeners() -> None:
    """OPS-1: the names of the sockets are listeners of this server."""
    for path in UNITS.glob("*.socket"):
        unit = configparser.ConfigParser(interpolation=None)
        unit.read(path)
        assert path.stem == f"pikachu-{unit['Socket']['FileDescriptorName']}"
        assert unit["Socket"]["FileDescriptorName"] in ("http", "scep", "https", "trusted_https")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that is not started."""
    require("systemd-socket-activate")
    server = make_server(tmp_path)
    yield server
    end(server)


def _activate(server: Server, sockets: dict[str, int], variables: dict[str, str] | None = None) -> None:
    """Have systemd's program listen, which starts the server at the first connection."""
    options = [f"--listen=127.0.0.1:{port}" for port in sockets.values()]
    with (server.folder / "console.txt").open("ab") as console:
        server.process = subprocess.Popen(
            [
                "systemd-socket-activate",
                *options,
                f"--fdname={':'.join(sockets)}",
                *(f"--setenv={name}" for name in variables or {}),
                "--setenv=PYTHONPATH",
                "--setenv=PATH",
                *command(server.files.config, "-n", f"--pidfile={server.folder / 'twistd.pid'}"),
            ],
            cwd=server.folder,
            env={**environment(), **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
        )
    wait_until(lambda: "Listening on" in server.console, "systemd's program listens")


def test_socket_activation(server: Server, tmp_path: Path) -> None:
    """OPS-1: a connection that came before the server is answered by it, on systemd's socket, and it reports itself."""
    passed = {"http": server.ports["http"], "https": server.ports["https"]}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(DEADLINE)
        variables = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        _activate(server, passed, variables)
        assert not accepts(server.ports["scep"])
        # The very first connection starts the server, which answers it.
        with server.client("http") as client:
            assert client.ask("/healthz").status == 200
        assert systemd.recv(100) == b"READY=1"
        assert server.ask("https", "/healthz").status == 200
        # Listeners without a socket are opened by the server.
        assert accepts(server.ports["scep"])
        assert "crl ec\tok" in server.run("health", "--for", "status")
        states = {systemd.recv(100) for _ in range(3)}
        assert states == {b"WATCHDOG=1"}
        assert server.stop(signal.SIGTERM) == 0
        while (state := systemd.recv(100)) == b"WATCHDOG=1":
            pass
        assert state == b"STOPPING=1"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scep", r"systemd listens for scep, which is turned off in .*; set its port, or disable"),
        (
            "web",
            r"systemd passes a socket named 'web'; set FileDescriptorName= in the socket unit to one",
        ),
    ],
)
def test_a_socket_for_no_listener(tmp_path: Path, name: str, message: str) -> None:
    """A socket that nobody would answer is refused at start, by name."""
    require("systemd-socket-activate")
    server = make_server(tmp_path, changes={("SCEP", "enabled"): "false"})
    port = server.ports["http"]
    try:
        _activate(server, {name: port})
        with socket.create_connection(("127.0.0.1", port), DEADLINE):
            assert server.running.wait(DEADLINE) == 1
    finally:
        end(server)
    assert re.search(message, server.console)


@pytest.mark.parametrize("purpose", [(), ("--for", "status")])
def test_health_without_a_server(server: Server, purpose: tuple[str, ...]) -> None:
    """The command of the health check fails, with one line, where no server runs."""
    with pytest.raises(AssertionError, match=r"does not answer on 127\.0\.0\.1 port"):
        server.run("health", *purpose)
