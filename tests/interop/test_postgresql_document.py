"""The commands of docs/postgresql.md, on a PostgreSQL server and two nodes of the test's own (HA-1)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.support.interop import require
from tests.support.ports import free_ports
from tests.support.postgresql import running_postgresql
from tests.support.server import ROOT, accepts, command, environment, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

DOCUMENT: Final = ROOT / "docs" / "postgresql.md"
LISTENERS: Final = {"8080": "http_port", "8090": "http_port", "8443": "port", "4443": "trusted_port"}
PIKACHU: Final = f"""\
#!/bin/sh
exec {sys.executable} -c 'from pikachu.cli.main import run; run()' "$@"
"""


def blocks() -> list[str]:
    """Return the commands, block by block."""
    return re.findall(r"^```sh\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def set_ports(config: Path) -> dict[str, int]:
    """Give a node free ports instead of those of the shipped file; return them by what they replace."""
    ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
    text = config.read_text()
    for old, new in ports.items():
        text = text.replace(f"{LISTENERS[old]} = {old}\n", f"{LISTENERS[old]} = {new}\n")
    config.write_text(text)
    return ports


def test_from_nothing_to_two_nodes(tmp_path: Path) -> None:
    """The database is made, the first node founds the CA, the second is a copy, and both serve the same CRL."""
    require("curl", "sed")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pikachu").write_text(PIKACHU)
    (tmp_path / "bin" / "pikachu").chmod(0o755)
    (tmp_path / "config.ini").write_text((ROOT / "config.ini").read_text())
    with running_postgresql() as postgresql:
        # The commands are those of the user postgres, and make the role pikachu.
        postgresql.execute("CREATE ROLE postgres SUPERUSER LOGIN")
        postgresql.run("psql", *f"-h {postgresql.folder} -p {postgresql.port} -U postgres postgres -c".split(),
                       "ALTER ROLE pikachu RENAME TO founder")  # fmt: skip
        variables = {
            **environment(),
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "PGHOST": str(postgresql.folder),
            "PGPORT": str(postgresql.port),
            "PGUSER": "postgres",
            "DB_PASSWORD": "change-me",
        }

        def run(script: str) -> str:
            script = script.replace("sudo -u postgres ", "")
            script = script.replace("db.example.com:5432", f"127.0.0.1:{postgresql.port}")
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=tmp_path, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
            return done.stdout

        *steps, looking = blocks()
        run("\n".join(steps))
        ports = {name: set_ports(tmp_path / f"node-{name}" / "config.ini") for name in "ab"}
        servers = []
        try:
            for name in "ab":
                folder = tmp_path / f"node-{name}"
                with (folder / "console.txt").open("ab") as console:
                    line = command(folder / "config.ini", "-n", "--pidfile=")
                    servers.append(
                        subprocess.Popen(
                            line, cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=console, stderr=console
                        )
                    )
                wait_until(lambda name=name: accepts(ports[name]["8443"]), "the node listens")  # type: ignore[misc]
                looking = looking.replace(f"{name}.example.com:8080", f"127.0.0.1:{ports[name]['8080']}")
            wait_until(lambda: succeeds(looking, run), "both nodes are ready")
            *_, first, second = run(looking).splitlines()
            assert first == second
        finally:
            for server in servers:
                server.kill()
                server.wait()


def succeeds(script: str, run: Callable[[str], str]) -> bool:
    """Return whether the commands end well."""
    try:
        run(script)
    except AssertionError:
        return False
    return True
