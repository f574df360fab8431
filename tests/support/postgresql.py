"""A PostgreSQL server of the test run's own: started, stopped, failed over."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.interop import missing, require
from tests.support.ports import free_ports

_PSQL: Final = ("-U", "pikachu", "-At", "-v", "ON_ERROR_STOP=1", "-d")


class PostgreSQL:
    """One server with its data.

    :param folder: where data, socket and log are; not below pytest's folder: each run of pytest closes that to others,
        and a socket's path has 107 bytes at most.
    :ivar port: it listens there on the loopback interface, and at the socket.
    """

    def __init__(self, folder: Path) -> None:
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        if not found:
            require("initdb")
        self._programs = found[-1] if found else os.path.dirname(str(shutil.which("initdb")))
        self._user = None
        if os.getuid() == 0:
            # initdb refuses root.
            self._user = "postgres"
            try:
                pwd.getpwnam(self._user)
            except KeyError:
                missing("PostgreSQL does not run as root, and there is no user postgres")
            shutil.chown(folder, self._user)
        self.folder = folder
        self.data = folder / "data"
        (self.port,) = free_ports(1)
        self._made = 0
        self.is_running = False

    def run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs as its user, and return its output."""
        # pg_ctl leaves a server behind, which would keep a pipe open.
        with tempfile.TemporaryFile() as output:
            subprocess.run(
                [f"{self._programs}/{program}", *arguments],
                check=True,
                user=self._user,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                cwd="/",
            )
            output.seek(0)
            return output.read().decode()

    def create(self) -> None:
        """Create an empty cluster."""
        self.run(
            "initdb", "-D", str(self.data), *["-A", "trust", "--no-locale", "-E", "UTF8", "--no-sync", "-U", "pikachu"]
        )

    def start(self, options: str = "-c fsync=off") -> None:
        """Start, and wait until it accepts connections."""
        options += f" -c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.folder}"
        self.run("pg_ctl", "-D", str(self.data), "-w", "-l", str(self.folder / "log"), "-o", options, "start")
        self.is_running = True

    def stop(self, mode: str = "immediate") -> None:
        """Stop; *immediate* is like a crash."""
        if self.is_running:
            self.run("pg_ctl", "-D", str(self.data), "-w", "-m", mode, "stop")
            self.is_running = False

    def create_standby_of(self, primary: PostgreSQL) -> None:
        """Create a cluster that follows *primary*, whose commits wait for it."""
        self.run(
            "pg_basebackup", "-D", str(self.data), "-R", "-c", "fast", "-X", "stream", "-d",
            f"host={primary.folder} port={primary.port} user=pikachu application_name=standby",
        )  # fmt: skip

    def execute(self, statement: str, database: str = "postgres") -> str:
        """Execute SQL as its superuser, and return what it gives, unaligned."""
        return self.run("psql", "-h", str(self.folder), "-p", str(self.port), *_PSQL, database, "-c", statement)

    def promote(self) -> None:
        """Make the standby the primary."""
        self.run("pg_ctl", "-D", str(self.data), "-w", "promote")

    def new_database(self, tablespace: str = "pg_default", template: str = "template1") -> str:
        """Create a database, empty unless it is the copy of another one, and return its name."""
        self._made += 1
        name = f"test{self._made}"
        where = ["-h", str(self.folder), "-p", str(self.port), "-U", "pikachu"]
        self.run("createdb", *where, "--tablespace", tablespace, "--template", template, name)
        return name

    def own(self, *paths: Path) -> None:
        """Make files PostgreSQL's own."""
        if self._user is not None:
            for path in paths:
                shutil.chown(path, self._user)

    def url(self, database: str, *, port: int | None = None) -> str:
        """Return the URL of a database.

        :param port: of a relay to this server; ``None`` for its socket.
        """
        if port is not None:
            return f"postgresql://pikachu@127.0.0.1:{port}/{database}"
        return f"postgresql://pikachu@/{database}?host={self.folder}&port={self.port}"


@contextmanager
def postgresql_folder() -> Iterator[Path]:
    """A short folder for a server."""
    with tempfile.TemporaryDirectory(prefix="postgresql-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def running_postgresql(primary: PostgreSQL | None = None) -> Iterator[PostgreSQL]:
    """A server that runs, and is stopped at the end.

    :param primary: the server that it is a standby of.
    """
    with postgresql_folder() as folder:
        server = PostgreSQL(folder)
        if primary is None:
            server.create()
        else:
            server.create_standby_of(primary)
        server.start()
        try:
            yield server
        finally:
            server.stop()
