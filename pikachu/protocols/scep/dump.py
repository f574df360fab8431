"""Raw requests and answers in a folder, for those who have to find out what a device sends (SCEP-4)."""

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
_LONGEST: Final = 40


class MessageDump:
    """Writes into ``dump_dir`` in a thread of its own; what can't be written is told to the log and nobody else.

    :param folder: made with mode 0700 when it is missing; the files have 0600.
    """

    def __init__(self, folder: Path, pool: IWorkerPool, clock: IClock) -> None:
        self._folder = folder
        self._pool = pool
        self._clock = clock

    def keep(self, request: bytes, answer: bytes | None, transaction_id: bytes) -> None:
        """Keep both; *answer* ``None`` where there was none that is a message.

        :param transaction_id: its letters and digits stand in the files' names.
        """
        moment = datetime.fromtimestamp(self._clock.seconds(), UTC)
        readable = _NOT_IN_NAMES.sub(b"", transaction_id)[:_LONGEST].decode("ascii") or "none"
        stem = f"{moment:%Y%m%dT%H%M%S.%fZ}-{readable}-{secrets.token_hex(3)}"
        parts = {f"{stem}.request.der": request}
        if answer is not None:
            parts[f"{stem}.answer.der"] = answer
        self._pool.run(self._write, parts).addErrback(self._failed)

    def _write(self, parts: dict[str, bytes]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in parts.items():
            handle = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)

    def _failed(self, failure: Failure) -> None:
        log.warn("[SCEP] dump_dir: {error}", error=failure.getErrorMessage())
