"""A dump of raw SCEP requests and responses in a folder, for debugging clients (SCEP-4)."""

from __future__ import annotations

import os
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.core.interfaces import IClock, IWorkerPool

log = Logger()

_NOT_IN_NAMES: Final = re.compile(rb"[^A-Za-z0-9]+")
_MAX_ID_LENGTH: Final = 40


class MessageDump:
    """Writes messages to ``dump_dir`` in a worker thread; write errors are only logged.

    :param folder: created with mode 0700 if missing; the files have 0600.
    """

    def __init__(self, folder: Path, pool: IWorkerPool, clock: IClock) -> None:
        self._folder = folder
        self._pool = pool
        self._clock = clock

    def keep(self, request: bytes, answer: bytes | None, transaction_id: bytes) -> None:
        """Store a request and its response.

        :param answer: ``None`` when the response was not a message.
        :param transaction_id: its letters and digits become part of the file names.
        """
        now = datetime.fromtimestamp(self._clock.seconds(), UTC)
        readable = _NOT_IN_NAMES.sub(b"", transaction_id)[:_MAX_ID_LENGTH].decode("ascii") or "none"
        stem = f"{now:%Y%m%dT%H%M%S.%fZ}-{readable}-{secrets.token_hex(3)}"
        contents = {f"{stem}.request.der": request}
        if answer is not None:
            contents[f"{stem}.answer.der"] = answer
        self._pool.run(self._write, contents).addErrback(self._failed)

    def _write(self, contents: dict[str, bytes]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in contents.items():
            handle = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)

    def _failed(self, failure: Failure) -> None:
        log.warn("[SCEP] dump_dir: {error}", error=failure.getErrorMessage())
