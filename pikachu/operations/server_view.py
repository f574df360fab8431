"""The effective configuration and the log, for administrators and auditors (CFG-11, UI-9), and reading files again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from twisted.internet.defer import Deferred

from pikachu.auth.permissions import require_scope
from pikachu.config.configuration import Configuration
from pikachu.config.masking import Setting, masked
from pikachu.config.schema import keys
from pikachu.config.sections import SECTIONS
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import Conflict, MalformedRequest, NotFound
from pikachu.core.interfaces import IClock, IStore, IWorkerPool
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.times import utc
from pikachu.operations.log_reader import ALL_LINES, LEVELS, LogFilter, LogLine, last_lines, last_octets

MAXIMUM_LINES: Final = 2_000
#: Octets of a download of the log.
MAXIMUM_DOWNLOAD: Final = 4 * 1024 * 1024
_MAXIMUM_KEYWORD: Final = 200

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ExplainedSetting:
    """An effective setting; secrets are masked.

    :param default: the default value; ``None`` in sections with arbitrary keys.
    :param comment: the purpose of the setting.
    """

    setting: Setting
    default: str | None
    comment: str


class ServerView:
    """Reads the configuration and the log; all methods require an administrator or auditor.

    :param store: records downloads of the log, and that files were read again.
    :param pool: reads files.
    """

    def __init__(self, config: Configuration, store: IStore, clock: IClock, pool: IWorkerPool) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        self._pool = pool
        self._reload: Callable[[], Deferred[list[str]]] | None = None

    def reload_by(self, reload: Callable[[], Deferred[list[str]]]) -> None:
        """Set what reads files again: it returns what could not be read, for people.  Never fails."""
        self._reload = reload

    @uncancelled
    async def reload(self, actor: Principal) -> None:
        """Read again what SIGHUP reads again (RUN-5), and record that; for administrators.

        :raises Conflict: with what stayed as it was.  The rest was read.
        """
        require_scope(actor, Scope.ADMIN)
        if self._reload is None:
            raise Conflict("Only a running server reads its files again.")
        problems = await self._reload()
        event = event_by(actor, "reload", "configuration", "files of the server", None, problems=len(problems))
        await self._store.add_event(event, utc(self._clock.seconds()))
        if problems:
            raise Conflict(" ".join(problems))

    def settings(self, actor: Principal) -> list[ExplainedSetting]:
        """Return all effective settings, section by section."""
        require_scope(actor, Scope.AUDIT)
        known = {(cls.NAME, key.name): key for cls in SECTIONS for _, key in keys(cls)}
        settings = []
        for setting in masked(self._config):
            key = known.get((setting.section, setting.key))
            settings.append(ExplainedSetting(setting, key.default if key else None, key.comment if key else ""))
        return settings

    def warnings(self, actor: Principal) -> tuple[str, ...]:
        """Return the warnings about unknown and risky settings."""
        require_scope(actor, Scope.AUDIT)
        return (*self._config.warnings, *self._config.risks, *self._config.advice)

    def file(self, actor: Principal) -> str:
        """Return the path of the configuration file."""
        require_scope(actor, Scope.AUDIT)
        return str(self._config.path)

    def log_file(self, actor: Principal) -> str | None:
        """Return the path of the log file, or None if the log goes to standard output only."""
        require_scope(actor, Scope.AUDIT)
        file = self._config.logging.log_file
        return None if file is None else str(file)

    @uncancelled
    async def log(self, actor: Principal, count: int, wanted: LogFilter = ALL_LINES) -> list[LogLine]:
        """Return the last wanted lines of the log, oldest first.

        :raises MalformedRequest: for too many lines, too long a keyword, or an unknown level.
        :raises NotFound: without a log file.
        """
        require_scope(actor, Scope.AUDIT)
        if not 1 <= count <= MAXIMUM_LINES:
            raise MalformedRequest(f"Enter a number of lines from 1 to {MAXIMUM_LINES}.", field="lines")
        _check(wanted)
        return await self._read(last_lines, count, wanted)

    @uncancelled
    async def download(self, actor: Principal, wanted: LogFilter = ALL_LINES) -> bytes:
        """Return the last wanted lines of the log, of at most ``MAXIMUM_DOWNLOAD`` octets, and record that.

        For administrators only.  Fails as :meth:`log` does, and with StoreUnavailable.
        """
        require_scope(actor, Scope.ADMIN)
        _check(wanted)
        octets = await self._read(last_octets, MAXIMUM_DOWNLOAD, wanted)
        details = {name: value for name, value in (("keyword", wanted.keyword), ("level", wanted.level)) if value}
        event = event_by(actor, "download", "log", "server log", None, octets=len(octets), **details)
        await self._store.add_event(event, utc(self._clock.seconds()))
        return octets

    async def _read(self, read: Callable[..., _T], maximum: int, wanted: LogFilter) -> _T:
        file = self._config.logging.log_file
        if file is None:
            raise NotFound("[LOGGING] log_file is not set: the log goes to standard output only")
        try:
            return await self._pool.run(read, file, maximum, wanted)
        except OSError as error:
            raise NotFound(f"the log can't be read: {error.strerror or 'it is not there'}") from None


def _check(wanted: LogFilter) -> None:
    if len(wanted.keyword) > _MAXIMUM_KEYWORD:
        raise MalformedRequest(f"Enter a keyword of at most {_MAXIMUM_KEYWORD} characters.", field="q")
    if wanted.level and wanted.level not in LEVELS:
        raise MalformedRequest(f"Choose one of the levels {', '.join(LEVELS)}.", field="level")
