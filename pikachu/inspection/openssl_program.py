"""The ``openssl`` program, run for its text beside ours: with an argument list, standard input and a time limit.

It never receives a secret: neither private keys nor passphrases.
"""

from __future__ import annotations

import contextlib
import select
import selectors
import shutil
import subprocess
import time
from collections.abc import Sequence
from typing import IO, Final

_TIME_LIMIT: Final = 5.0
_MAXIMUM_OUTPUT: Final = 256 * 1024
_PIECE: Final = 32 * 1024
# Pass on neither this process's environment nor the engines and providers of a local OpenSSL configuration.
_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "OPENSSL_CONF": "/dev/null"}


class OpenSSL:
    """The ``openssl`` program of this host, if installed."""

    def __init__(self, time_limit: float = _TIME_LIMIT, program: str = "openssl") -> None:
        self._program = shutil.which(program)
        self._time_limit = time_limit

    def text(self, arguments: Sequence[str], data: bytes) -> str | None:
        """Return the output of ``openssl ARGUMENTS`` for *data* on standard input.  Blocks: call it in a worker pool.

        :returns: ``None`` when the program is not installed or exceeded the time limit.
        """
        if self._program is None:
            return None
        try:
            process = subprocess.Popen(
                [self._program, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                env=_ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        except OSError:
            return None
        with process:
            try:
                output = self._exchange(process, data)
            finally:
                process.kill()
        if output is None:
            return None
        text = output[:_MAXIMUM_OUTPUT].decode("utf-8", "replace")
        return f"{text}\n… the rest is left out\n" if len(output) > _MAXIMUM_OUTPUT else text

    def _exchange(self, process: subprocess.Popen[bytes], data: bytes) -> bytes | None:
        """Write *data* and return the output, up to the limits, or ``None`` on a timeout."""
        source, output = process.stdout, process.stdin
        assert source is not None and output is not None  # noqa: S101, PT018 - both are pipes
        deadline = time.monotonic() + self._time_limit
        unsent = memoryview(data)
        received = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(source, selectors.EVENT_READ)
            selector.register(output, selectors.EVENT_WRITE)
            while len(received) <= _MAXIMUM_OUTPUT:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return None
                for key, _ in selector.select(remaining):
                    if key.fileobj is source:
                        piece = source.read(_PIECE)
                        if not piece:
                            return bytes(received)
                        received += piece
                    else:
                        unsent = _write(output, unsent)
                        if not unsent:
                            selector.unregister(output)
                            with contextlib.suppress(BrokenPipeError):
                                output.close()
        return bytes(received)


def _write(output: IO[bytes], rest: memoryview) -> memoryview:
    """Write as much as a ready pipe accepts without blocking, and return the unwritten rest."""
    try:
        # POSIX guarantees that a ready pipe accepts PIPE_BUF bytes without blocking.
        written = output.write(rest[: select.PIPE_BUF])
    except BrokenPipeError:
        return rest[:0]
    return rest[written:]
