"""Starting and ending the real server, and the programs that it is compared with."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.place import CHECKOUT, Place

_PATIENCE = 120.0


class Program:
    """A server process of this run, ended with the ``with`` block.

    :param processors: where it may run; ``None``: anywhere.
    :param environment: variables that it has besides those of this process.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        processors: set[int] | None = None,
        name: str = "server",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = list(command)
        self._folder = folder
        self._processors = processors
        self._environment = environment or {}
        self._output = folder / f"{name}.out"
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0

    def __enter__(self) -> Self:
        processors = self._processors

        def pin() -> None:
            if processors is not None:
                os.sched_setaffinity(0, processors)

        with self._output.open("wb") as output:
            self.started_at = time.perf_counter()
            self.process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT), **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=pin,
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        process = self.process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            # Its whole group: some leave children behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _alive(self) -> None:
        if self.process is None or self.process.poll() is not None:
            last = self._output.read_text(errors="replace").strip().splitlines()[-3:]
            raise RuntimeError(f"{self._command[0]} has ended: {' / '.join(last)}")

    def wait_for_port(self, port: int) -> float:
        """Seconds from the start until somebody listens there."""
        while time.perf_counter() < self.started_at + _PATIENCE:
            self._alive()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
                return time.perf_counter() - self.started_at
            time.sleep(0.005)
        raise RuntimeError(f"nobody listens on port {port}")

    def wait_for_answer(self, port: int, request: bytes, expect: bytes) -> float:
        """Seconds from the start until *request* gets an answer that holds *expect*."""
        while time.perf_counter() < self.started_at + _PATIENCE:
            self._alive()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(request)
                if expect in connection.recv(65536):
                    return time.perf_counter() - self.started_at
            time.sleep(0.005)
        raise RuntimeError(f"there was no good answer on port {port}")

    def memory(self) -> tuple[float, float]:
        """(resident memory now, its peak so far) in MB."""
        if self.process is None:
            return 0.0, 0.0
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        return int(fields["VmRSS"].split()[0]) / 1024, int(fields["VmHWM"].split()[0]) / 1024


class Server(Program):
    """``twistd -n pikachu`` with the CA of *place*."""

    def __init__(self, place: Place, processors: set[int] | None = None) -> None:
        twistd = "from twisted.scripts.twistd import run; run()"
        command = [sys.executable, "-c", twistd, "-n", "--pidfile=", "pikachu", "-c", str(place.config)]
        super().__init__(command, place.folder, processors, "twistd", place.environment)
