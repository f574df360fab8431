"""The interface of language models (UI-11)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from twisted.internet.defer import Deferred


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that a model wants to have called; nothing of it was checked.

    :param arguments: JSON, or any other text.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer of a model: a text, or calls of tools."""

    text: str
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversation:
    """The input of a model.

    :param messages: those of the chat completions API.
    :param tools: name, description and JSON schema of the tools that it may call, in that API's form.
    """

    messages: Sequence[Mapping[str, object]] = field(repr=False)
    tools: Sequence[Mapping[str, object]] = field(repr=False, default=())


class IChatModel(Protocol):
    """A language model."""

    def complete(self, conversation: Conversation, on_text: Callable[[str], None]) -> Deferred[Completion]:
        """Answer; *on_text* gets the whole text so far each time that it has grown.

        Cancelling it closes the connection.  Fails with Unavailable when the model does not answer, or not in the form
        of the API; an exception of *on_text* ends it with that exception.
        """
