"""USR-3: Argon2id, one cost for every refusal, and a memory of successes that weakens nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

import pytest
from argon2 import Type, extract_parameters

from pikachu.auth.passwords import (
    MAXIMUM_BYTES,
    REMEMBERED_ENTRIES,
    REMEMBERED_SECONDS,
    Argon2Parameters,
    PasswordHasher,
)
from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import AuthenticationFailed, Overloaded, PolicyViolation
from tests.support.deferreds import failure_of, result_of
from tests.support.people import CHEAP, CountingPool

P = ParamSpec("P")
T = TypeVar("T")


class FullPool:
    """Has too much to do."""

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        def refuse() -> T:
            raise Overloaded("too much to do")

        return ImmediatePool().run(refuse)


def make_hasher() -> tuple[PasswordHasher, CountingPool, Clock]:
    pool, clock = CountingPool(), Clock()
    return PasswordHasher(pool, clock, CHEAP), pool, clock


def test_hash_is_argon2id_with_the_given_cost_and_a_salt_of_its_own() -> None:
    hasher, _, _ = make_hasher()
    first, second = result_of(hasher.hash("secret")), result_of(hasher.hash("secret"))
    assert first != second
    parameters = extract_parameters(first)
    assert (parameters.type, parameters.time_cost, parameters.memory_cost) == (Type.ID, 1, 8)
    assert "secret" not in first


def test_default_cost_is_what_owasp_asks_for() -> None:
    assert Argon2Parameters() == Argon2Parameters(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@pytest.mark.parametrize("password", ["secret", "", "pässwörd ✓", "x" * MAXIMUM_BYTES, "a\0b"])
def test_right_password_verifies_and_another_does_not(password: str) -> None:
    hasher, _, _ = make_hasher()
    stored = result_of(hasher.hash(password))
    result_of(hasher.verify(stored, password))
    failure_of(hasher.verify(stored, password + "?"), AuthenticationFailed)


def test_composed_and_decomposed_letters_are_one_password() -> None:
    """RFC 8265 section 4.2.2: passwords are compared in NFC, since keyboards differ."""
    hasher, _, _ = make_hasher()
    result_of(hasher.verify(result_of(hasher.hash("caf\u00e9")), "cafe\u0301"))


def test_unknown_user_costs_one_verification_like_a_wrong_password() -> None:
    """USR-3: the response time does not reveal whether a user exists."""
    hasher, pool, _ = make_hasher()
    stored = result_of(hasher.hash("secret"))
    pool.work.clear()
    wrong = failure_of(hasher.verify(stored, "guess"), AuthenticationFailed)
    unknown = failure_of(hasher.verify(None, "guess"), AuthenticationFailed)
    assert wrong.public == unknown.public
    assert len(pool.work) == 2
    costs = [extract_parameters(str(work[0])) for work in pool.work]
    assert costs[0] == costs[1]


def test_a_stored_text_that_is_no_hash_verifies_nothing() -> None:
    hasher, _, _ = make_hasher()
    failure_of(hasher.verify("$argon2id$nonsense", "secret"), AuthenticationFailed)


@pytest.mark.parametrize("password", ["x" * (MAXIMUM_BYTES + 1), "ä" * (MAXIMUM_BYTES // 2 + 1), "x" * 10_000_000])
def test_passwords_are_bounded_before_any_work(password: str) -> None:
    hasher, pool, _ = make_hasher()
    failure_of(hasher.hash(password), PolicyViolation)
    failure_of(hasher.verify(None, password), AuthenticationFailed)
    assert pool.work == []


def test_a_success_is_remembered_for_five_minutes() -> None:
    hasher, pool, clock = make_hasher()
    stored = result_of(hasher.hash("secret"))
    pool.work.clear()
    for _ in range(10):
        result_of(hasher.verify(stored, "secret"))
    assert len(pool.work) == 1
    clock.advance(REMEMBERED_SECONDS)
    result_of(hasher.verify(stored, "secret"))
    assert len(pool.work) == 2


def test_failures_are_not_remembered_and_each_costs_a_verification() -> None:
    hasher, pool, _ = make_hasher()
    stored = result_of(hasher.hash("secret"))
    result_of(hasher.verify(stored, "secret"))
    pool.work.clear()
    for _ in range(5):
        failure_of(hasher.verify(stored, "guess"), AuthenticationFailed)
    assert len(pool.work) == 5


def test_a_changed_password_ends_what_was_remembered_of_the_former() -> None:
    hasher, _, _ = make_hasher()
    stored = result_of(hasher.hash("former"))
    result_of(hasher.verify(stored, "former"))
    changed = result_of(hasher.hash("newer"))
    failure_of(hasher.verify(changed, "former"), AuthenticationFailed)


def test_the_memory_is_bounded() -> None:
    hasher, pool, _ = make_hasher()
    stored = [result_of(hasher.hash("secret")) for _ in range(REMEMBERED_ENTRIES + 1)]
    for each in stored:
        result_of(hasher.verify(each, "secret"))
    pool.work.clear()
    result_of(hasher.verify(stored[-1], "secret"))
    assert pool.work == []
    result_of(hasher.verify(stored[0], "secret"))
    assert len(pool.work) == 1


def test_no_password_is_kept() -> None:
    """Nothing that the object holds after a verification contains the password."""
    hasher, _, _ = make_hasher()
    stored = result_of(hasher.hash("a very secret password"))
    result_of(hasher.verify(stored, "a very secret password"))
    assert "very secret" not in repr(vars(hasher))


def test_a_full_pool_is_told() -> None:
    hasher = PasswordHasher(FullPool(), Clock(), CHEAP)
    failure_of(hasher.verify(None, "secret"), Overloaded)
