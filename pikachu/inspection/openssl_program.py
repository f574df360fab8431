"""The ``openssl`` program, asked for its text beside ours: as an argument list, on standard input, with little time.

Nothing secret goes there: neither private keys nor passphrases.
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
# Nothing of this process's environment; no engines and providers of a local configuration either.
_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "OPENSSL_CONF": "/dev/null"}


class OpenSSL:
    """The program on this machine, where there is one."""

    def __init__(self, time_limit: float = _TIME_LIMIT, program: str = "openssl") -> None:
        self._program = shutil.which(program)
        self._time_limit = time_limit

    def text(self, arguments: Sequence[str], data: bytes) -> str | None:
        """What ``openssl ARGUMENTS`` writes, given *data*; to be called in a worker pool.

        :returns: ``None`` where there is no such program, or it did not answer in time.
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
        """Write *data* and read what comes, up to the limits; ``None`` when time is up."""
        source, output = process.stdout, process.stdin
        assert source is not None and output is not None  # noqa: S101, PT018 - both are pipes
        deadline = time.monotonic() + self._time_limit
        rest = memoryview(data)
        found = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(source, selectors.EVENT_READ)
            selector.register(output, selectors.EVENT_WRITE)
            while len(found) <= _MAXIMUM_OUTPUT:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return None
                for key, _ in selector.select(remaining):
                    if key.fileobj is source:
                        piece = source.read(_PIECE)
                        if not piece:
                            return bytes(found)
                        found += piece
                    else:
                        rest = _write(output, rest)
                        if not rest:
                            selector.unregister(output)
                            with contextlib.suppress(BrokenPipeError):
                                output.close()
        return bytes(found)


def _write(output: IO[bytes], rest: memoryview) -> memoryview:
    """Write as much as a pipe that is ready takes for certain; what is left to write."""
    try:
        # PIPE_BUF: POSIX lets a pipe that is ready take so much without blocking.
        written = output.write(rest[: select.PIPE_BUF])
    except BrokenPipeError:
        return rest[:0]
    return rest[written:]
