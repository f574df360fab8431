"""``pikachu start``, ``stop`` and ``migrate`` (OPS-2)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.capture import CaptureResult

from pikachu.cli.main import main
from pikachu.cli.processes import is_running, running_process, stop_process
from pikachu.core.errors import PikachuError
from pikachu.storage.migrate import HEAD
from tests.support.server import ROOT, Server, accepts, make_server, wait_until
from tests.support.site import Site, empty_site


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that is not started."""
    # twistd finds its plugin from any folder.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    server = make_server(tmp_path)
    yield server
    pid_file = server.files.config.with_name("pikachu.pid")
    if pid_file.exists():
        os.kill(int(pid_file.read_text()), signal.SIGKILL)


def test_start_and_stop(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    """The server runs in the background after one command, a second one changes nothing, stop waits for its end, and a
    pid file that a killed server has left is no obstacle.
    """

    def run(command: str, code: int = 0) -> CaptureResult[str]:
        capfd.readouterr()
        assert main([command, "--config", str(server.files.config)]) == code
        return capfd.readouterr()

    pid_file = server.files.config.with_name("pikachu.pid")
    assert run("stop").out == "not running\n"
    started = run("start").out
    first = int(pid_file.read_text())
    assert started == f"started  process {first}\n"
    assert all(accepts(port) for port in server.ports.values())
    assert run("start", 1).err == f"pikachu start: the server runs already (process {first})\n"
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not is_running(first), "it has ended")
    run("start")
    second = int(pid_file.read_text())
    assert run("stop").out == f"stopped  process {second}\n"
    assert not is_running(second)
    assert not any(accepts(port) for port in server.ports.values())
    assert run("stop").out == "not running\n"
    # A start that can't work says why.
    (server.folder / "root.crt").unlink()
    assert "root.crt" in run("start", 1).err
    assert not pid_file.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no process id"),
        ("abc", "holds no process id"),
        ("-1", "holds no process id"),
        ("0", "holds no process id"),
        ("1", "holds no process id"),
        ("12 13", "holds no process id"),
        ("9" * 40, "holds no process id"),
        ("99999999", None),
    ],
)
def test_pid_files(tmp_path: Path, content: str, message: str | None) -> None:
    """A pid file that was damaged stops no other process: neither all (-1), nor the group (0), nor init (1)."""
    path = tmp_path / "pid"
    path.write_text(content)
    if message is None:
        assert running_process(path, "twistd") is None
    else:
        with pytest.raises(PikachuError, match=message):
            running_process(path, "twistd")


def test_a_process_id_that_is_used_again(tmp_path: Path) -> None:
    """Another program that has the id now is not taken for the server."""
    path = tmp_path / "pid"
    path.write_text(f"{os.getpid()}\n")
    assert running_process(path, "twistd") is None
    assert running_process(tmp_path / "none", "twistd") is None


def test_a_process_that_does_not_end() -> None:
    """Stop says so, and does not kill it."""
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(PikachuError, match="still runs after 0 seconds"):
            stop_process(process.pid, "the server", 0.1)
        assert process.poll() is None
        process.kill()
        process.wait()
        assert not is_running(process.pid)


def test_migrate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A database is made once; its state is an exit code too."""
    site: Site = empty_site(tmp_path, capsys)
    (tmp_path / "var" / "db").mkdir(parents=True)
    assert site.run("migrate", "--check") == 1
    assert site.out == f"empty  schema {HEAD} is this version's\n"
    assert site.do("migrate") == f"made  schema {HEAD}"
    assert site.do("migrate") == f"left  schema {HEAD}"
    assert site.do("migrate", "--check") == f"current  schema {HEAD} is this version's"
