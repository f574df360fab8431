"""The selection of rows of a list, and the actions that a job can do on them (JOB-1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pikachu.auth.permissions import Audience
from pikachu.core.model.jobs import JobAction, JobResource


@dataclass(frozen=True, slots=True)
class BulkAction:
    """An action on the selected rows.

    :param label: of its button.
    :param kind: of the button: ``danger``, ``plain`` (less prominent than the others), or empty.
    :param audience: who has it.
    """

    action: JobAction
    label: str
    kind: str = "danger"
    audience: Audience = Audience.REQUESTER


#: The action that changes nothing.
EXPORT: Final = BulkAction(JobAction.EXPORT, "Export", kind="")


@dataclass(frozen=True, slots=True)
class Selection:
    """The objects of a list's rows, and the actions on them.

    :param pick: returns the id and the name of a row's object.
    """

    resource: JobResource
    actions: tuple[BulkAction, ...]
    pick: Callable[[Any], tuple[int, str]]


def deletion(resource: JobResource, pick: Callable[[Any], tuple[int, str]]) -> Selection:
    """Return the selection of a list whose rows can be deleted together."""
    return Selection(resource, (BulkAction(JobAction.DELETE, "Delete"),), pick)


def export_or_deletion(resource: JobResource, pick: Callable[[Any], tuple[int, str]]) -> Selection:
    """Return the selection of a list whose rows can be exported or deleted together."""
    return Selection(resource, (EXPORT, BulkAction(JobAction.DELETE, "Delete")), pick)
