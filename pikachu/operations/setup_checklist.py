"""The set-up checklist: what a new CA still needs, for administrators.

Steps that the configuration or the database shows tick themselves; an administrator confirms the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from pikachu.auth.permissions import require_scope
from pikachu.config.configuration import Configuration
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import NotFound
from pikachu.core.interfaces import IClock
from pikachu.core.model.events import Event
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.preferences import LAST_BACKUP, SetupMark
from pikachu.core.model.times import utc
from pikachu.core.preference_interfaces import ISetupStore

_DISMISSED: Final = "dismissed"


class Step(StrEnum):
    """A step of the set-up, in the order in which it is done."""

    TRUST = "trust"
    PUBLIC_URL = "public-url"
    PASSWORD = "password"  # noqa: S105 - the name of a step
    BACKUP = "backup"
    POLICY = "policy"
    CERTIFICATE = "certificate"


#: The steps that an administrator may confirm: trust can't be noticed here, nor copies that other programs make.
CONFIRMED: Final = (Step.TRUST, Step.BACKUP)


@dataclass(frozen=True, slots=True)
class Checklist:
    """The state of the set-up.

    :param done: the steps that are done, and for those that were confirmed by whom and when.
    :param last_backup: when and by whom ``pikachu backup`` was last run.
    """

    done: Mapping[Step, SetupMark | None]
    dismissed: bool = False
    last_backup: SetupMark | None = None

    @property
    def count(self) -> int:
        """Return the number of steps that are done."""
        return len(self.done)

    @property
    def complete(self) -> bool:
        """Return whether all steps are done."""
        return self.count == len(Step)


class SetupChecklist:
    """Tells what of the set-up is done, and takes confirmations; all methods require an administrator."""

    def __init__(self, *, store: ISetupStore, config: Configuration, clock: IClock) -> None:
        self._store = store
        self._config = config
        self._clock = clock

    async def state(self, actor: Principal) -> Checklist:
        """Return the state of each step."""
        require_scope(actor, Scope.ADMIN)
        state = await self._store.setup_state()
        facts = {
            Step.PUBLIC_URL: self._config.ca.public_url is not None,
            Step.PASSWORD: state.password_changed,
            Step.BACKUP: LAST_BACKUP in state.marks,
            Step.POLICY: state.has_policy,
            Step.CERTIFICATE: state.has_certificate,
        }
        done = {step: state.marks.get(step) for step in Step if facts.get(step) or step in state.marks}
        return Checklist(done, _DISMISSED in state.marks, state.marks.get(LAST_BACKUP))

    def secrets(self, actor: Principal) -> list[tuple[str, Path]]:
        """Return the files without which the CA can't be restored, with what each one is."""
        require_scope(actor, Scope.ADMIN)
        config, files = self._config, []
        source = config.secret_key_source
        if isinstance(source, Path):
            files.append(("Secret key", source))
        if config.ca.root_key_path is not None:
            files.append(("Root key", config.ca.root_key_path))
        files += [(f"Key of CA “{name}”", one.key) for name, one in config.ca.issuers.items() if one.key is not None]
        if config.database.url is None:
            files.append(("Database", config.paths.db_path))
        return [*files, ("Configuration", config.path)]

    @uncancelled
    async def confirm(self, actor: Principal, name: str) -> None:
        """Confirm a step that nothing here can notice.

        :raises NotFound: there is no such step.
        """
        require_scope(actor, Scope.ADMIN)
        await self._store.mark_setup(_confirmed(name), _event(actor, "complete", name), utc(self._clock.seconds()))

    @uncancelled
    async def withdraw(self, actor: Principal, name: str) -> None:
        """Withdraw the confirmation of a step.

        :raises NotFound: there is no such step.
        """
        require_scope(actor, Scope.ADMIN)
        await self._store.unmark_setup(_confirmed(name), _event(actor, "cancel", name), utc(self._clock.seconds()))

    @uncancelled
    async def dismiss(self, actor: Principal, *, dismissed: bool) -> None:
        """Take the checklist from the dashboard, or put it back."""
        require_scope(actor, Scope.ADMIN)
        change = self._store.mark_setup if dismissed else self._store.unmark_setup
        event = _event(actor, "cancel" if dismissed else "return", "checklist")
        await change(_DISMISSED, event, utc(self._clock.seconds()))


def _confirmed(name: str) -> str:
    if name not in CONFIRMED:
        raise NotFound("there is no such step")
    return name


def _event(actor: Principal, type_: str, step: str) -> Event:
    return event_by(actor, type_, "configuration", "set-up", None, step=step)
