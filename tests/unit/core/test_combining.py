"""Calls of several threads that are carried out together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from pikachu.core.combining import CombinedCalls


class Gate:
    """Work that begins when it is let through; negative numbers fail.

    :ivar calls: the arguments of the calls that were carried out together, in order.
    """

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self.open = threading.Semaphore(0)

    def work(self, numbers: Sequence[int]) -> list[int | Exception]:
        self.calls.append(list(numbers))
        self.entered.release()
        assert self.open.acquire(timeout=30)
        return [ValueError(number) if number < 0 else 2 * number for number in numbers]


def waiting(combined: CombinedCalls[int, int], count: int) -> None:
    """Return when so many calls wait."""
    pause = threading.Event()
    for _ in range(3000):
        if combined.waiting == count:
            return
        pause.wait(0.01)
    raise AssertionError(f"{combined.waiting} calls wait")


def test_calls_that_meet() -> None:
    """A call goes alone; those that come meanwhile go together, up to the maximum, and each gets its own outcome."""
    gate = Gate()
    combined: CombinedCalls[int, int] = CombinedCalls(gate.work, at_once=1, most=3)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(combined.call, 1)
        assert gate.entered.acquire(timeout=30)
        others: list[Future[int]] = []
        for count, number in enumerate((2, -3, 4, 5)):
            others.append(pool.submit(combined.call, number))
            waiting(combined, count + 1)
        for _ in range(3):
            gate.open.release()
        assert first.result(30) == 2
        assert [others[index].result(30) for index in (0, 2, 3)] == [4, 8, 10]
        with pytest.raises(ValueError, match="-3"):
            others[1].result(30)
    assert gate.calls == [[1], [2, -3, 4], [5]]


def test_a_failure_is_that_of_all() -> None:
    """Work that fails as a whole fails each call, and the next ones are carried out."""

    def work(numbers: Sequence[int]) -> list[int | Exception]:
        if 0 in numbers:
            raise RuntimeError("no")
        return list(numbers)

    combined: CombinedCalls[int, int] = CombinedCalls(work, at_once=1, most=3)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no"):
            combined.call(0)
        assert combined.call(7) == 7


@pytest.mark.parametrize("count", [0, 1, 3])
def test_other_numbers_of_outcomes(count: int) -> None:
    """Nobody gets the outcome of another call, or waits for ever, when work returns too few or too many."""
    gate = Gate()
    combined: CombinedCalls[int, int] = CombinedCalls(
        lambda numbers: gate.work(numbers) if len(numbers) == 1 else [7] * count, at_once=1, most=2
    )
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(combined.call, 1)
        assert gate.entered.acquire(timeout=30)
        others = [pool.submit(combined.call, number) for number in (2, 3)]
        waiting(combined, 2)
        gate.open.release()
        assert first.result(30) == 2
        for other in others:
            with pytest.raises(RuntimeError, match="outcomes of 2 calls"):
                other.result(30)


def test_several_at_once() -> None:
    """As many go alone at the same time as may be under way."""
    gate = Gate()
    combined: CombinedCalls[int, int] = CombinedCalls(gate.work, at_once=2, most=3)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(combined.call, number) for number in (1, 2)]
        for _ in calls:
            assert gate.entered.acquire(timeout=30)
        calls.append(pool.submit(combined.call, 3))
        waiting(combined, 1)
        for _ in calls:
            gate.open.release()
        assert [call.result(30) for call in calls] == [2, 4, 6]
    assert sorted(gate.calls) == [[1], [2], [3]]
