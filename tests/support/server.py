"""A real server: ``twistd pikachu`` in a process of its own, on free ports of the loopback interface.

Where the start itself is not what is tested, the process is forked (:mod:`tests.support.forked_twistd`).
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import psutil

from pikachu.cli.session import opened
from pikachu.server.application import Application
from pikachu.server.composition import SafetySettings
from tests.support import forked_twistd
from tests.support.people import CHEAP
from tests.support.pki import Identity
from tests.support.ports import free_ports
from tests.support.stack import Changes, Files, make_files

ROOT: Final = Path(__file__).resolve().parents[2]
TWISTD: Final = Path(sys.executable).with_name("twistd")
LISTENERS: Final = {
    "http": ("DEFAULT", "http_port"),
    "scep": ("SCEP", "http_port"),
    "https": ("HTTPS", "port"),
    "trusted_https": ("TRUSTED_HTTPS", "trusted_port"),
}
DEADLINE: Final = 60.0
Process = subprocess.Popen[bytes] | forked_twistd.ForkedProcess


def wait_until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
    """Poll until *condition* gives something true; give that.

    :raises AssertionError: naming *what*, after *seconds*.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


@dataclass(frozen=True)
class Answer:
    """The output of a server."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body."""
        return self.body.decode()


class Client:
    """One keep-alive connection.

    :param context: of TLS; ``None`` speaks in the clear.
    """

    def __init__(self, port: int, context: ssl.SSLContext | None = None, timeout: float = DEADLINE) -> None:
        self.connection: http.client.HTTPConnection = (
            http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
            if context is None
            else http.client.HTTPSConnection("localhost", port, timeout=timeout, context=context)
        )

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request and its answer.

        :raises OSError: and http.client's errors, when the connection fails.
        """
        self.connection.request(method, path, body, dict(headers or {}))
        answer = self.connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())

    def close(self) -> None:
        """Hang up."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class Server:
    """A configured server, running or not.

    :ivar ports: by listener: ``http``, ``scep``, ``https``, ``trusted_https``.
    :ivar forked: whether its process is forked; one with environment variables of its own never is.
    :ivar lives: how often it was started.
    """

    files: Files
    ports: dict[str, int]
    forked: bool = True
    process: Process | None = None
    lives: int = 0
    _contexts: dict[str, ssl.SSLContext] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where everything of it lies."""
        return self.files.folder

    @property
    def console(self) -> str:
        """The server's standard output and error, over all its runs."""
        path = self.folder / "console.txt"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    @property
    def log(self) -> str:
        """Its log file, with those that were put aside."""
        paths = sorted(self.folder.glob("pikachu.log*"), key=lambda path: path.stat().st_mtime)
        return "".join(path.read_text("utf-8", "replace") for path in paths)

    # --- life ---------------------------------------------------------------------------

    def start(self, *options: str, variables: Mapping[str, str] | None = None) -> Self:
        """Start in the foreground and wait until every listener accepts.

        :param options: of ``twistd`` itself.
        :param variables: more environment variables.
        """
        self.launch(*options, variables=variables)
        self.wait_ready()
        return self

    def launch(self, *options: str, variables: Mapping[str, str] | None = None) -> None:
        """Start in the foreground."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        line = command(self.files.config, "-n", f"--pidfile={self.folder / 'twistd.pid'}", *options)
        with (self.folder / "console.txt").open("ab") as console:
            if self.forked and not variables:
                self.process = forked_twistd.launch(line, self.folder, environment(), console, console)
            else:
                self.process = subprocess.Popen(
                    line,
                    cwd=self.folder,
                    env={**environment(), **(variables or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                )
        self.lives += 1

    def wait_ready(self) -> None:
        """Wait until every listener accepts."""

        def ready() -> bool:
            assert self.process is None or self.process.poll() is None, f"it ended: {self.console[-2000:]}"
            return all(accepts(port) for port in self.ports.values())

        wait_until(ready, "the listeners accept")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and give the exit code."""
        process = self.running
        process.send_signal(number)
        code = process.wait(DEADLINE)
        self.process = None
        return code

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.stop(signal.SIGKILL)

    def hang_up(self) -> None:
        """SIGHUP, and wait until it says that it has read its files again."""
        before = self.log.count("Reloaded")
        self.running.send_signal(signal.SIGHUP)
        wait_until(lambda: self.log.count("Reloaded") > before, "SIGHUP is obeyed")

    @property
    def running(self) -> Process:
        """Its process."""
        assert self.process is not None, "it does not run"
        return self.process

    def memory(self) -> int:
        """Octets of resident memory."""
        return int(psutil.Process(self.running.pid).memory_info().rss)

    # --- clients ------------------------------------------------------------------------

    def context(self, identity: Identity | None = None) -> ssl.SSLContext:
        """TLS that trusts this server, with a client certificate when *identity* is given."""
        key = "" if identity is None else f"{identity.certificate.serial_number:x}"
        if key not in self._contexts:
            context = ssl.create_default_context(cafile=str(self.folder / "root.crt"))
            if identity is not None:
                path = self.folder / f"client-{key}.pem"
                path.write_bytes(identity.key_pem + identity.pem + (identity.issuer.pem if identity.issuer else b""))
                path.chmod(0o600)
                context.load_cert_chain(path)
            self._contexts[key] = context
        return self._contexts[key]

    def client(self, listener: str = "https", identity: Identity | None = None) -> Client:
        """A connection to a listener."""
        context = self.context(identity) if listener in ("https", "trusted_https") else None
        return Client(self.ports[listener], context)

    def ask(
        self,
        listener: str,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        identity: Identity | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        with self.client(listener, identity) as client:
            return client.ask(path, method, body, headers)

    # --- other processes ----------------------------------------------------------------

    def run(self, *arguments: str) -> str:
        """Run ``pikachu`` with *arguments* in its own process, which must succeed; return its output."""
        program = "from pikachu.cli.main import run; run()"
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments, "--config", str(self.files.config)],
            cwd=self.folder,
            env=environment(),
            check=False,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextlib.contextmanager
    def application(self) -> Iterator[Application]:
        """The application as a command opens it, like a second process on the same database.

        Passwords that are set here cost little, also when the server verifies them.
        """
        with opened(self.files.load(), SafetySettings(argon2=CHEAP)) as app:
            yield app


def make_server(
    folder: Path,
    key_types: tuple[str, ...] = ("p256",),
    *,
    root_key_type: str = "p256",
    root_key: bool = True,
    changes: Changes | None = None,
    forked: bool = True,
) -> Server:
    """A server in *folder*, not started; see :func:`tests.support.stack.make_files`."""
    ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
    settings = {LISTENERS[name]: str(port) for name, port in ports.items()}
    settings["LOGGING", "log_file"] = "pikachu.log"
    settings.update(changes or {})
    ports = {name: port for name in ports if (port := int(settings[LISTENERS[name]]))}
    if settings.get(("SCEP", "enabled")) == "false":
        ports.pop("scep", None)
    files = make_files(folder, key_types, root_key_type=root_key_type, root_key=root_key, changes=settings)
    return Server(files, ports, forked)


@contextlib.contextmanager
def running_server(
    folder: Path,
    key_types: tuple[str, ...] = ("p256",),
    *,
    root_key: bool = True,
    changes: Changes | None = None,
    forked: bool = True,
) -> Iterator[Server]:
    """A server that runs; it is killed at the end, unless the test has stopped it."""
    server = make_server(folder, key_types, root_key=root_key, changes=changes, forked=forked)
    try:
        yield server.start()
    finally:
        end(server)


def end(server: Server) -> None:
    """Kill what still runs."""
    if server.process is not None and server.process.poll() is None:
        server.kill()


def command(config: Path, *options: str) -> list[str]:
    """The command line that starts a server.

    :param options: of ``twistd`` itself.
    """
    return [str(TWISTD), *options, "pikachu", f"--config={config}"]


def environment() -> dict[str, str]:
    """The environment for it: the plugin is found from any folder."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex(("127.0.0.1", port)) == 0
