"""The log: one line per event, to a file that rotates and to standard output, as text or JSON.

Modules say ``Logger(namespace="pikachu.…")`` of twisted.logger, and :func:`pikachu.core.tracing.trace` for what is
below its lowest level.
Secrets are kept out of events by those who write them; the patterns here are only the last net.
"""

from __future__ import annotations

import functools
import json
import logging
import re
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, LogPublisher, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from zope.interface import implementer

from pikachu.core.errors import ConfigError

LEVELS: Final = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
_NAMES: Final = {number: name for name, number in LEVELS.items()}
_NUMBERS: Final = {
    LogLevel.debug: 10,
    LogLevel.info: 20,
    LogLevel.warn: 30,
    LogLevel.error: 40,
    LogLevel.critical: 50,
}
_FILE_MODE: Final = 0o640

_SECRETS: Final = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), "[key]"),
    (
        re.compile(
            r"(?i)\b((?:\w*password|passphrase|secret(?:_id|_key)?|challenge|(?:access_|client_|vault_)?token)"
            r"[\"']?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|[^\s,;&)}]+)"
        ),
        r"\1[hidden]",
    ),
    (re.compile(r"(?i)\b(authorization\s*[:=]\s*)?\b(basic|bearer)\s+[A-Za-z0-9+/=._~-]{8,}"), r"\1\2 [hidden]"),
)
# No pattern fits a text without one of these; most lines have none, and the patterns take ten times as long.
_TELLTALE: Final = ("private key", "password", "passphrase", "secret", "challenge", "token", "basic", "bearer")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def level_number(name: str) -> int:
    """Return the number of a level's name, in either case; ``WARN`` is understood.

    :raises ConfigError: another name.
    """
    wanted = name.strip().upper()
    number = LEVELS.get("WARNING" if wanted == "WARN" else wanted)
    if number is None:
        raise ConfigError(f"[LOGGING] log_level: {name!r} is no level; use one of {', '.join(LEVELS)}")
    return number


def event_level(event: LogEvent) -> int:
    """Return the number of an event's level; events without one are INFO."""
    if event.get("log_below_debug"):
        return LEVELS["TRACE"]
    return _NUMBERS.get(event.get("log_level"), LEVELS["INFO"])


def redact(text: str) -> str:
    """Return *text* without anything that looks like a private key, a password or a token."""
    # Patterns that ignore case fit some letters beyond ASCII too.
    if text.isascii():
        lower = text.lower()
        for word in _TELLTALE:
            if word in lower:
                break
        else:
            return text
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _failure_text(event: LogEvent) -> str:
    failure = event.get("log_failure")
    if not isinstance(failure, Failure):
        return ""
    return "".join(traceback.format_exception(failure.type, failure.value, failure.getTracebackObject()))


def _clean(text: str) -> str:
    # Most lines are printable, and the pattern looks at each character.
    if text.isprintable():
        return text
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text.replace("\r\n", "\n"))


@functools.lru_cache(maxsize=4)
def _second(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%S}"


def _time(event: LogEvent) -> str:
    """Return the time of an event (RFC 3339, milliseconds)."""
    second, milliseconds = divmod(int(event.get("log_time", 0.0) * 1000), 1000)
    return f"{_second(second)}.{milliseconds:03}Z"


def _message(event: LogEvent) -> str:
    """Format an event as formatEvent does, in a sixth of the time for plain formats."""
    plain = event.get("log_format")
    if isinstance(plain, str) and "()" not in plain and "log_flattened" not in event:
        try:
            return plain.format_map(event)
        except Exception:  # noqa: BLE001 - a value that has no text must not stop the work that is logged
            return formatEvent(event)
    return formatEvent(event)


def text_line(event: LogEvent) -> str:
    """Return an event as a line; its further lines are indented, so that no event can imitate another."""
    message = _clean(redact(_message(event) + _indent_failure(event))).replace("\n", "\n\t")
    return f"{_time(event)} {_NAMES[event_level(event)]} {event.get('log_namespace', '-')}: {message}\n"


def _indent_failure(event: LogEvent) -> str:
    text = _failure_text(event).rstrip()
    return f"\n{text}" if text else ""


def json_line(event: LogEvent) -> str:
    """Return an event as a JSON object on a line: time, level, logger, message, plain values, traceback."""
    fields: dict[str, Any] = {
        "time": _time(event),
        "level": _NAMES[event_level(event)],
        "logger": str(event.get("log_namespace", "-")),
        "message": redact(_message(event)),
    }
    for key, value in event.items():
        if key.startswith("log_") or key in fields or key in ("format", "isError", "system", "message"):
            continue
        if isinstance(value, bool | int | float) or value is None:
            fields[key] = value
        elif isinstance(value, str):
            # The key goes through the net with its value.
            hidden = redact(f"{key}={value}")
            fields[key] = hidden[len(key) + 1 :] if hidden.startswith(f"{key}=") else "[hidden]"
    if failure := _failure_text(event):
        fields["traceback"] = redact(failure)
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")) + "\n"


class _FromLogging(logging.Handler):
    """Forwards records of the standard library's logging to this log."""

    _levels: Final = ((50, LogLevel.critical), (40, LogLevel.error), (30, LogLevel.warn), (20, LogLevel.info))

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on."""
        level = next((named for number, named in self._levels if record.levelno >= number), LogLevel.debug)
        values: dict[str, Any] = {"text": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            values["log_failure"] = Failure(record.exc_info[1])
        Logger(namespace=record.name).emit(level, "{text}", **values)


@implementer(ILogObserver)
class LogOutput:
    """The destination of the log.

    :ivar level: events below this number are dropped; can be set at any time.
    """

    def __init__(self, level: int, outputs: list[TextIO | LogFile], *, as_json: bool = False) -> None:
        self.level = level
        self._outputs = outputs
        self._format = json_line if as_json else text_line
        self._publisher: LogPublisher | None = None
        self._bridge = _FromLogging()

    def __call__(self, event: LogEvent) -> None:
        """Write an event."""
        if event_level(event) < self.level:
            return
        line = self._format(event)
        for output in self._outputs:
            # A full disk must not stop the work that is logged.
            try:
                output.write(line)
                output.flush()
            except (OSError, ValueError):
                continue

    def enabled(self, name: str) -> bool:
        """Return whether events of that level are written; callers check before they build costly ones."""
        return LEVELS[name] >= self.level

    def attach(self, publisher: LogPublisher = globalLogPublisher) -> None:
        """Observe the log beside the present observers, and forward the standard library's logging."""
        publisher.addObserver(self)
        self._publisher = publisher
        self.bridge()

    def bridge(self) -> None:
        """Forward the standard library's logging, from INFO."""
        logging.addLevelName(LEVELS["TRACE"], "TRACE")
        root = logging.getLogger()
        root.addHandler(self._bridge)
        root.setLevel(max(self.level, LEVELS["INFO"]))

    def close(self) -> None:
        """Stop observing and close the file."""
        logging.getLogger().removeHandler(self._bridge)
        if self._publisher is not None:
            self._publisher.removeObserver(self)
            self._publisher = None
        for output in self._outputs:
            if isinstance(output, LogFile):
                output.close()
        self._outputs = []


def configure(
    level: str,
    file: Path | None,
    *,
    json: bool = False,
    rotate_bytes: int = 10 * 1024 * 1024,
    keep: int = 10,
    standard_output: TextIO | None = None,
) -> LogOutput:
    """Build the configured log; nothing is written before ``attach``, or before twistd has it.

    :param file: ``None``: no file.
    :param rotate_bytes: a file of this size is set aside as ``FILE.1`` …
    :param keep: how many of them stay.
    :param standard_output: where lines go beside the file: ``sys.__stdout__``, since twistd makes ``sys.stdout`` a
        source of the log.
    :raises ConfigError: an unknown level, or a file that can't be written.
    """
    outputs: list[TextIO | LogFile] = []
    number = level_number(level)
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            outputs.append(LogFile(file.name, str(file.parent), rotate_bytes, _FILE_MODE, keep))
        except OSError as error:
            reason = error.strerror or "it can't be written"
            raise ConfigError(f"[LOGGING] log_file: {file} can't be written ({reason}); set another path") from None
    if standard_output is not None:
        outputs.append(standard_output)
    return LogOutput(number, outputs, as_json=json)
