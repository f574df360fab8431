"""Processes that commands start and stop, found again by their pid files."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pikachu.core.errors import PikachuError
from pikachu.core.number_parsing import parse_number

POLL_SECONDS: Final = 0.05
# Longer texts are no number of a process.
_MAX_PID_BYTES: Final = 32
_MAX_PID: Final = (1 << 31) - 1
_PROCESSES: Final = Path("/proc")


def running_process(pid_file: Path, mark: str) -> int | None:
    """Return the id of the process that a pid file names, or None when it has ended.

    Ids are used again, so a process whose command line has not that mark is another one.

    :param mark: the name of a program in its command line, such as ``twistd``, or how an argument begins.
    :raises PikachuError: when the file can't be read, or is no pid file.
    """
    try:
        with pid_file.open("rb") as stream:
            text = stream.read(_MAX_PID_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PikachuError(f"{pid_file} can't be read: {error.strerror}; name another file with --pidfile") from None
    pid = parse_number(text.decode("ascii", "replace").strip(), _MAX_PID, minimum=2)
    if pid is None:
        raise PikachuError(f"{pid_file} holds no process id; name the right file with --pidfile")
    return pid if is_running(pid) and _runs(pid, mark) else None


def is_running(pid: int) -> bool:
    """Return whether there is a process with that id that has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # A process that has ended stays until its parent has read its exit code: its state is Z.
        return (_PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True


def _runs(pid: int, mark: str) -> bool:
    try:
        line = (_PROCESSES / str(pid) / "cmdline").read_bytes()
    except FileNotFoundError:
        # There is no /proc, or the process has just ended.
        return not _PROCESSES.joinpath("self").exists()
    except OSError:
        return True
    words = line.decode("utf-8", "replace").split("\0")
    return any(os.path.basename(word) == mark or word.startswith(mark) for word in words)


def stop_process(pid: int, name: str, seconds: float) -> None:
    """End a process by SIGTERM and wait for its end.

    :param name: what it is, for messages.
    :raises PikachuError: when it belongs to another account, or still runs after *seconds*.
    """
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError:
        raise PikachuError(f"{name} (process {pid}) belongs to another account; stop it as that one") from None
    if not wait_until(lambda: not is_running(pid), seconds):
        raise PikachuError(f"{name} (process {pid}) still runs after {seconds:.0f} seconds; look at its log")


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll a condition; return whether it held within that time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(POLL_SECONDS)
    return True
