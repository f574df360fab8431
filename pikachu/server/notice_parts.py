"""The parts of notices in an application."""

from __future__ import annotations

from dataclasses import dataclass

from pikachu.operations.notice_delivery import NoticeDelivery
from pikachu.operations.notice_rules import Notices
from pikachu.operations.notice_runs import NoticeRuns


@dataclass(frozen=True, slots=True)
class NoticeParts:
    """Rules and messages, what applies the rules, and what sends the messages."""

    rules: Notices
    runs: NoticeRuns
    delivery: NoticeDelivery
