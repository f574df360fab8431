"""``twistd`` without the start of an interpreter: forked from a process that has imported the server.

An interpreter that imports the server takes more than a second of a processor; a fork takes some milliseconds.  The
process that forks has no thread, no reactor and no open connection, so what it forks is like a new process.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import functools
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import IO, Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
_REACTOR: Final = "twisted.internet.reactor"
_MESSAGE_BYTES: Final = 1 << 17
_END_SECONDS: Final = 30


class ForkedProcess:
    """A server's process, with what tests use of :class:`subprocess.Popen`.

    :param watcher: gives the process id at the beginning, and the exit code at the end.
    """

    def __init__(self, watcher: socket.socket) -> None:
        self._watcher = watcher
        self.returncode: int | None = None
        self.pid = int(watcher.recv(32))

    def poll(self) -> int | None:
        """Return the exit code if the process has ended."""
        return self._read(0)

    def wait(self, timeout: float) -> int:
        """Wait for the end, and return the exit code; that after a signal is negative.

        :raises subprocess.TimeoutExpired: when the process still runs then.
        """
        code = self._read(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return code

    def _read(self, timeout: float) -> int | None:
        if self.returncode is None and select.select([self._watcher], [], [], timeout)[0]:
            self.returncode = int(self._watcher.recv(32))
            self._watcher.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to a process that has not ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class _ForkServer:
    """The process that forks: one for each process of pytest, with which it ends."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.forked_twistd", str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        atexit.register(self._end)

    def fork(self, message: bytes, out: IO[Any], err: IO[Any]) -> ForkedProcess:
        """Start a process."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._control, [message], [theirs.fileno(), out.fileno(), err.fileno()])
        return ForkedProcess(ours)

    def _end(self) -> None:
        self._control.close()
        self._process.wait(_END_SECONDS)


@functools.cache
def _fork_server() -> _ForkServer:
    return _ForkServer()


def launch(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    out: IO[Any],
    err: IO[Any],
    *,
    user: int | None = None,
) -> ForkedProcess:
    """Run a command line of ``twistd`` in *folder*.

    :param user: the user and group id that it gets, without other groups; by default, it keeps those that are here.
    """
    message = {"command": list(command), "folder": str(folder), "environment": dict(environment), "user": user}
    return _fork_server().fork(json.dumps(message).encode(), out, err)


# --- the process that forks -----------------------------------------------------------------


def _import_server() -> None:
    """Import what a server imports, except for the reactor: forks would share the object that it waits with."""
    stub = ModuleType(_REACTOR)
    sys.modules[_REACTOR] = stub
    import twisted.internet.epollreactor
    import twisted.scripts.twistd  # noqa: F401
    from twisted.application.service import IServiceMaker
    from twisted.plugin import getPlugins

    import pikachu.server.service
    import pikachu.server.tap  # noqa: F401

    list(getPlugins(IServiceMaker))
    # Another user may not be able to read the files of this interpreter.
    for encoding in ("ascii", "utf-8-sig", "utf-16-le", "utf-16-be", "unicode-escape"):
        codecs.lookup(encoding)
    del sys.modules[_REACTOR]
    bound = {name for name, module in list(sys.modules.items()) if getattr(module, "reactor", None) is stub}
    # Klein's is for an application that Klein itself runs.
    assert bound <= {"klein._app"}, f"these have no reactor: {bound}"
    # No fork looks at these objects again, which would copy their memory.
    gc.collect()
    gc.freeze()


def _serve(control: socket.socket) -> None:
    """Fork for each message, until the other end is closed; return in the forks, too."""
    while True:
        message, files, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 3)
        if not message:
            sys.exit(0)
        if os.fork() == 0:
            control.close()
            watcher, out, err = files
            _watch(socket.socket(fileno=watcher), out, err)
            _become(json.loads(message), out, err)
            return
        for file in files:
            os.close(file)


def _watch(connection: socket.socket, out: int, err: int) -> None:
    """Fork, and tell of the fork's beginning and end; return in the fork only."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid:
        os.close(out)
        os.close(err)
        connection.send(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(OSError):
            connection.send(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    connection.close()


def _become(message: Mapping[str, Any], out: int, err: int) -> None:
    """Take over what a new process would have been given."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    os.chdir(message["folder"])
    os.environ.clear()
    os.environ.update(message["environment"])
    sys.argv = message["command"]
    user = message["user"]
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)


def _main() -> None:
    _import_server()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _serve(socket.socket(fileno=int(sys.argv[1])))
    from twisted.scripts.twistd import run

    code: object = 0
    try:
        run()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    # Taking all modules apart would copy their memory.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    _main()
