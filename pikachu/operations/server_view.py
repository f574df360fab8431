"""What only those who operate the server see: the configuration in force and the log (CFG-11, UI-9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pikachu.auth.permissions import require_scope
from pikachu.config.configuration import Configuration
from pikachu.config.masking import Setting, masked
from pikachu.config.sections import SECTIONS, keys
from pikachu.core.errors import MalformedRequest, NotFound
from pikachu.core.interfaces import IWorkerPool
from pikachu.core.model.people import Principal, Scope
from pikachu.operations.log_reader import LogLine, last_lines

MAXIMUM_LINES: Final = 2_000
_MAXIMUM_KEYWORD: Final = 200


@dataclass(frozen=True, slots=True)
class ExplainedSetting:
    """A setting in force; secrets are masked.

    :param default: what counts where the file has nothing; ``None`` for sections whose keys are free.
    :param comment: what it is for.
    """

    setting: Setting
    default: str | None
    comment: str


class ServerView:
    """For admins.

    :param pool: where files are read.
    """

    def __init__(self, config: Configuration, pool: IWorkerPool) -> None:
        self._config = config
        self._pool = pool

    def settings(self, actor: Principal) -> list[ExplainedSetting]:
        """All settings in force, section by section."""
        require_scope(actor, Scope.ADMIN)
        known = {(cls.NAME, key.name): key for cls in SECTIONS for _, key in keys(cls)}
        found = []
        for setting in masked(self._config):
            key = known.get((setting.section, setting.key))
            found.append(ExplainedSetting(setting, key.default if key else None, key.comment if key else ""))
        return found

    def warnings(self, actor: Principal) -> tuple[str, ...]:
        """What is unknown in the file, and what opens the CA."""
        require_scope(actor, Scope.ADMIN)
        return (*self._config.warnings, *self._config.risks)

    def file(self, actor: Principal) -> str:
        """Where the configuration is."""
        require_scope(actor, Scope.ADMIN)
        return str(self._config.path)

    def log_file(self, actor: Principal) -> str | None:
        """Where the log goes, beside standard output."""
        require_scope(actor, Scope.ADMIN)
        file = self._config.logging.log_file
        return None if file is None else str(file)

    async def log(self, actor: Principal, count: int, keyword: str = "", *, without: str = "") -> list[LogLine]:
        """The last lines of the log that hold *keyword* and not *without*, the oldest first.

        :raises MalformedRequest: more lines than may be asked for, or an absurd keyword.
        :raises NotFound: there is no log file.
        """
        require_scope(actor, Scope.ADMIN)
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
