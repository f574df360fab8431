"""Installs the broker's CRL file, and makes the broker read it (MQT-1).

Mosquitto lets everybody in when the file is missing at SIGHUP, so it is written by rename, never removed, and looked at
before each signal.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from pikachu.core.atomic_files import replace_files
from pikachu.core.errors import BrokerUnavailable, StoreUnavailable

_COMMAND_SECONDS: Final = 60.0
_MAX_PID_SIZE: Final = 64
_PROC: Final = Path("/proc")


class BrokerFile:
    """A broker's CRL file.

    :param pid_file: of the broker, which gets SIGHUP; ``None``: no signal.
    :param process: the name that the process must have.
    :param command: reloads the broker instead; empty: none.
    """

    def __init__(self, path: Path, pid_file: Path | None, process: str, command: tuple[str, ...]) -> None:
        self.path = path
        self._pid_file = pid_file
        self._process = process
        self._command = command

    def read(self, limit: int) -> bytes:
        """Return the content; empty when there is no file.

        :raises StoreUnavailable: it can't be read.
        """
        try:
            with self.path.open("rb") as stream:
                return stream.read(limit)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise StoreUnavailable(f"{self.path} can't be read: {error.strerror}") from error

    def write(self, pieces: Callable[[], Iterable[bytes]]) -> None:
        """Replace the file.

        :raises StoreUnavailable: it can't be written; the previous one stays.
        """
        try:
            replace_files(([self.path], pieces))
        except OSError as error:
            raise StoreUnavailable(f"{self.path} can't be written: {error.strerror}") from error

    def reload(self) -> None:
        """Make the broker read the file again.

        :raises StoreUnavailable: the file is missing or empty, with which some brokers let everybody in.
        :raises BrokerUnavailable: the broker can't be told.
        """
        try:
            is_filled = self.path.stat().st_size > 0
        except OSError:
            is_filled = False
        if not is_filled:
            raise StoreUnavailable(f"{self.path} is missing or empty, so the broker was not told to read it")
        if self._pid_file is not None:
            self._signal(self._pid_file)
        if self._command:
            self._run()

    def _signal(self, pid_file: Path) -> None:
        try:
            with pid_file.open(encoding="ascii") as stream:
                process = int(stream.read(_MAX_PID_SIZE).strip())
            name = (_PROC / str(process) / "comm").read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise BrokerUnavailable(f"the broker of {pid_file} does not run", error=str(error)) from error
        # The kernel cuts names at 15 bytes.
        if process <= 1 or name != self._process[:15]:
            raise BrokerUnavailable(f"the process of {pid_file} is {name}, not {self._process}; nothing was signalled")
        try:
            os.kill(process, signal.SIGHUP)
        except OSError as error:
            raise BrokerUnavailable(f"the broker can't be signalled: {error.strerror}") from error

    def _run(self) -> None:
        try:
            done = subprocess.run(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_COMMAND_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BrokerUnavailable(f"the command {self._command[0]} failed", error=str(error)) from error
        if done.returncode:
            raise BrokerUnavailable(f"the command {self._command[0]} ended with {done.returncode}")
