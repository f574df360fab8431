"""Runs pkilint, where it is installed, and translates its findings."""

from __future__ import annotations

import base64
import json
import select
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from pikachu.core.errors import BadCSR
from pikachu.core.model.lint import NOT_FINISHED, Finding, Severity
from pikachu.x509.lint.names import uri_problem
from pikachu.x509.san import check_dns_name, check_email

log = Logger()

_PROGRAM: Final = Path(__file__).with_name("pkilint_program.py")
_SECONDS: Final = 20
_PIECE: Final = 64 * 1024
# Nothing of this process's environment, which may contain secrets, is passed on.
_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
_SEVERITIES: Final = {
    "FATAL": Severity.ERROR,
    "ERROR": Severity.ERROR,
    "WARNING": Severity.WARNING,
    "NOTICE": Severity.NOTICE,
    "INFO": Severity.INFO,
}
_DOMAIN: Final = "pkix.invalid_domain_name_syntax"
_EMAIL: Final = "pkix.invalid_email_address_syntax"
_URI: Final = "pkix.invalid_uri_syntax"
_COMPONENTS: Final = "pkix.name_domain_components_invalid_domain_name"


class _Unfinished(Exception):
    """The linter gave no answer; the text says why."""


class _Ended(_Unfinished):
    """The process has ended."""


class Pkilint:
    """The installed pkilint.

    :param seconds: the time limit of one lint.
    :param program: the path of :mod:`pikachu.lint.pkilint_program`.
    """

    def __init__(self, installed: str, seconds: int = _SECONDS, program: Path = _PROGRAM) -> None:
        self.name = f"pkilint {installed}"
        self._seconds = seconds
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        # Also called when nobody uses this object any more, and when the program ends.
        self._end: Callable[[], object] | None = None

    def lint(self, certificates: Sequence[bytes]) -> tuple[Finding, ...]:
        """See :class:`pikachu.core.lint_interfaces.ICertificateLinter`; for one thread at a time."""
        line = json.dumps([base64.b64encode(certificate).decode() for certificate in certificates]).encode() + b"\n"
        try:
            results = self._exchange(line)
        except _Unfinished as error:
            self.close()
            log.warn("{linter} did not finish: {reason}", linter=self.name, reason=str(error))
            return (self._unfinished(str(error)),)
        return tuple(dict.fromkeys(self._finding(*result) for result in results if result[0] in _SEVERITIES))

    def close(self) -> None:
        """Stop the process; the next lint starts another one."""
        self._process = None
        if self._end is not None:
            self._end()

    def _exchange(self, line: bytes) -> list[list[str]]:
        """Return the answer to a line, from the running process or, if that has ended, from a new one."""
        deadline = time.monotonic() + self._seconds
        if self._process is not None and self._process.poll() is None:
            # It may just have ended, having had nothing to do.
            with suppress(BrokenPipeError, _Ended):
                return self._answer(self._process, line, deadline)
        self.close()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(self._program), str(self._seconds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=_ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
            self._end = weakref.finalize(self, _end, self._process)
            return self._answer(self._process, line, deadline)
        except OSError as error:
            raise _Unfinished(f"it can't be started ({error.strerror})") from error

    def _answer(self, process: subprocess.Popen[bytes], line: bytes, deadline: float) -> list[list[str]]:
        requests, answers = process.stdin, process.stdout
        assert requests is not None and answers is not None  # noqa: S101, PT018 - both are pipes
        rest = memoryview(line)
        while rest:
            rest = rest[requests.write(rest) :]
        received = bytearray()
        while not received.endswith(b"\n"):
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not select.select([answers], [], [], remaining)[0]:
                raise _Unfinished(f"it took longer than {self._seconds} seconds")
            piece = answers.read(_PIECE)
            if not piece:
                raise _Ended(f"it ended with the status {process.wait()}")
            received += piece
        try:
            results: list[list[str]] = json.loads(received)
        except ValueError as error:
            raise _Unfinished("it gave no answer that can be read") from error
        return results

    def _finding(self, severity: str, code: str, path: str, message: str, value: str) -> Finding:
        if code == "raised":
            return self._unfinished(f"it raised {message}")
        where = path.removeprefix("certificate.").removeprefix("tbsCertificate.")
        if _is_valid_name(code, value):
            quoted = f"“{value}” is" if value else "The domain components are"
            return Finding(Severity.NOTICE, code, f"{quoted} not a fully qualified public name.", where)
        text = message or code.rpartition(".")[2].replace("_", " ")
        return Finding(_SEVERITIES[severity], code, f"{text[:1].upper()}{text[1:].rstrip('.')}.", where)

    def _unfinished(self, reason: str) -> Finding:
        return Finding(Severity.ERROR, NOT_FINISHED, f"{self.name} did not finish: {reason}.")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    # Closes the pipes, and waits for the process.
    with process:
        pass


def _is_valid_name(code: str, value: str) -> bool:
    """Return whether pkilint complains about a name that RFC 5280 allows.

    It knows the names of the public Internet only: no wildcards, host names of one label, and URIs of other schemes.
    """
    try:
        if code == _DOMAIN:
            check_dns_name(value)
        elif code == _EMAIL:
            check_email(value)
        elif code == _URI:
            return uri_problem(value) is None
        else:
            # The rule of this program about domain components is as strict as the RFC.
            return code == _COMPONENTS
    except BadCSR:
        return False
    return True


def installed_linter() -> Pkilint | None:
    """Return pkilint, or None when the extra ``lint`` is not installed."""
    try:
        return Pkilint(version("pkilint"))
    except PackageNotFoundError:
        return None
