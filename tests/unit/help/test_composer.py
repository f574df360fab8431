"""A model that takes too long, and questions that come at the same time (UI-11)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

import pytest

from pikachu.core.chat_interfaces import Completion, Conversation
from pikachu.core.concurrency import start
from pikachu.core.model.people import SYSTEM, Principal
from pikachu.help.composer import Composer, Composition
from pikachu.help.tools import Asker
from tests.support.deferreds import result_of
from tests.support.stack import Stack, build_core


@dataclass
class WaitingModel:
    """A model that answers when the test says so."""

    answers: list[Deferred[Completion]] = field(default_factory=list)
    cancelled: int = 0
    readers: list[Callable[[str], None]] = field(default_factory=list)

    def complete(self, conversation: Conversation, on_text: Callable[[str], None]) -> Deferred[Completion]:
        """Wait."""
        self.readers.append(on_text)
        self.answers.append(Deferred(self._cancel))
        return self.answers[-1]

    def _cancel(self, _: object) -> None:
        self.cancelled += 1


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = build_core(tmp_path_factory.mktemp("core"))
    yield stack
    stack.close()


@dataclass
class World:
    """A composer with its model and clock."""

    model: WaitingModel
    clock: Clock
    composer: Composer

    def compose(self, principal: Principal, texts: list[str] | None = None) -> Deferred[Composition]:
        """Begin an answer."""
        on_text = (lambda _: None) if texts is None else texts.append
        return start(self.composer.compose(Asker(principal), "question", (), (), on_text))


@pytest.fixture
def world(stack: Stack) -> World:
    model, clock = WaitingModel(), Clock()
    tools = stack.app.assistant.tools
    composer = Composer(model=model, tools=tools, clock=clock, host="llm.example.com", timeout=10, concurrent=2)
    return World(model, clock, composer)


def people(count: int) -> list[Principal]:
    return [replace(SYSTEM, owner_id=number) for number in range(1, count + 1)]


def test_a_slow_model_is_given_up(world: World) -> None:
    """Its connection is closed, and the guide answers."""
    composing = world.compose(people(1)[0])
    world.clock.advance(11)
    assert "took too long" in result_of(composing).note
    assert world.model.cancelled == 1


def test_at_most_some_at_once_and_of_each(world: World) -> None:
    """Two of all are answered at the same time, the third waits, and a third of one account is not taken."""
    alice, bob = people(2)
    first = [world.compose(alice), world.compose(alice)]
    assert "busy" in result_of(world.compose(alice)).note
    waiting = world.compose(bob)
    assert len(world.model.answers) == 2
    world.model.answers[0].callback(Completion("one"))
    assert len(world.model.answers) == 3
    world.model.answers[2].callback(Completion("three"))
    assert [part.text for part in result_of(waiting).text] == ["three"]
    world.model.answers[1].callback(Completion("two"))
    assert [result_of(one).text[0].text for one in first] == ["one", "two"]


def test_a_waiting_room_has_an_end(world: World) -> None:
    """A question that finds it full gets the answer of the guide."""
    composing = [world.compose(one) for one in people(30)]
    assert len(world.model.answers) == 2
    done = [one for one in composing if one.called]
    assert len(done) == 30 - 2 - 16
    assert all("busy" in result_of(one).note for one in done)
    world.clock.advance(100)


def test_text_is_sent_now_and_then(world: World) -> None:
    """Each chunk is not an event, and the part of a word is not shown."""
    texts: list[str] = []
    composing = world.compose(people(1)[0], texts)
    for chunk in ("Op", "Open Ke", "Open Keys n"):
        world.model.readers[0](chunk)
    world.clock.advance(1)
    world.model.readers[0]("Open Keys now and th")
    assert texts == ["", "Open Keys now and"]
    world.model.answers[0].callback(Completion("Open Keys now and then."))
    assert result_of(composing).text[0].text == "Open Keys now and then."
