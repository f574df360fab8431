"""The effective configuration and the log, for administrators and auditors (CFG-11, UI-9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pikachu.auth.permissions import require_scope
from pikachu.config.configuration import Configuration
from pikachu.config.masking import Setting, masked
from pikachu.config.schema import keys
from pikachu.config.sections import SECTIONS
from pikachu.core.errors import MalformedRequest, NotFound
from pikachu.core.interfaces import IWorkerPool
from pikachu.core.model.people import Principal, Scope
from pikachu.operations.log_reader import LogLine, last_lines

MAXIMUM_LINES: Final = 2_000
_MAXIMUM_KEYWORD: Final = 200


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

    :param pool: reads files.
    """

    def __init__(self, config: Configuration, pool: IWorkerPool) -> None:
        self._config = config
        self._pool = pool

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

    async def log(self, actor: Principal, count: int, keyword: str = "", *, without: str = "") -> list[LogLine]:
        """Return the last lines of the log that contain *keyword* and not *without*, oldest first.

        :raises MalformedRequest: for too many lines or too long a keyword.
        :raises NotFound: without a log file.
        """
        require_scope(actor, Scope.AUDIT)
        file = self._config.logging.log_file
        if not 1 <= count <= MAXIMUM_LINES:
            raise MalformedRequest(f"between 1 and {MAXIMUM_LINES} lines can be asked for")
        if len(keyword) > _MAXIMUM_KEYWORD:
            raise MalformedRequest(f"a keyword has at most {_MAXIMUM_KEYWORD} characters")
        if file is None:
            raise NotFound("[LOGGING] log_file is not set: the log goes to standard output only")
        try:
            return await self._pool.run(last_lines, file, count, keyword, without)
        except OSError as error:
            raise NotFound(f"the log can't be read: {error.strerror or 'it is not there'}") from None
