"""Results of Deferreds that have fired already, for tests without a reactor."""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pikachu.core.errors import PikachuError

T = TypeVar("T")
E = TypeVar("E", bound=Exception)


def result_of(deferred: Deferred[T]) -> T:
    """Return the result of a fired *deferred*; raise its failure."""
    results: list[T | Failure] = []
    deferred.addBoth(results.append)
    assert results, "the Deferred has not fired"
    result = results[0]
    if isinstance(result, Failure):
        result.raiseException()
    return result


def error_of(deferred: Deferred[Any]) -> PikachuError:
    """The error of this program with which *deferred* has failed."""
    try:
        result = result_of(deferred)
    except PikachuError as error:
        return error
    raise AssertionError(f"succeeded with {result!r}")


def failure_of(deferred: Deferred[Any], *kinds: type[E]) -> E:
    """The exception of exactly one of *kinds* with which *deferred* has failed."""
    results: list[object] = []
    deferred.addBoth(results.append)
    assert results, "the Deferred has not fired"
    failure = results[0]
    assert isinstance(failure, Failure), f"succeeded with {failure!r}"
    if type(failure.value) not in kinds:
        failure.raiseException()
    assert isinstance(failure.value, kinds)
    return failure.value
