"""CHP-1: authentication by challenge passwords."""

from __future__ import annotations

from datetime import timedelta

from pikachu.auth.authenticator import new_challenge
from pikachu.core.errors import AuthenticationFailed, Conflict, RateLimited
from pikachu.core.interfaces import Begun
from pikachu.core.model.certificates import Method
from pikachu.core.model.events import Event
from pikachu.core.model.people import (
    SYSTEM,
    Principal,
    PrincipalKind,
    Scope,
)
from pikachu.core.model.requests import NewRequest
from pikachu.core.sealing import Sealer
from tests.support.deferreds import failure_of, result_of
from tests.support.people import ADDRESS, ANY_CSR, World


def request_of(world: World, principal: Principal, number: int = 0) -> NewRequest:
    return NewRequest(
        Method.SCEP,
        b"csr",
        f"CN={number}",
        "RSA/2048",
        number.to_bytes(20, "big"),
        "default",
        "ec",
        principal.name,
        principal.owner_id,
        world.now,
        challenge_id=principal.challenge_id,
    )


def test_challenge_authenticates_for_its_owner(world: World) -> None:
    """The owner of the challenge password owns the certificate enrolled with it."""
    alice = world.add("alice")
    challenge, text = result_of(world.challenge_passwords.create(world.as_person(alice)))
    principal = result_of(world.authenticator.challenge(text, ADDRESS, ANY_CSR))
    assert principal == Principal(
        PrincipalKind.CHALLENGE,
        f"challenge password {text[:8]}",
        owner_id=alice.id,
        scopes=frozenset({Scope.ENROLL}),
        challenge_id=challenge.id,
        address=ADDRESS,
    )
    for written in (text.lower(), f" {text}\n"):
        assert result_of(world.authenticator.challenge(written, ADDRESS, ANY_CSR)).challenge_id == challenge.id


def test_a_hundred_at_once_consume_it_once(world: World) -> None:
    """CHP-2: a hundred authenticate before the first has begun; one of them gets the certificate."""
    _, text = result_of(world.challenge_passwords.create(SYSTEM))
    principals = [result_of(world.authenticator.challenge(text, f"192.0.2.{number}", ANY_CSR)) for number in range(100)]
    attempts = [
        world.store.begin(request_of(world, principal, number), None, world.now)
        for number, principal in enumerate(principals)
    ]
    outcomes: list[object] = []
    for attempt in attempts:
        attempt.addBoth(outcomes.append)
    begun = [outcome for outcome in outcomes if isinstance(outcome, Begun)]
    refusals = [outcome.value for outcome in outcomes if not isinstance(outcome, Begun)]  # type: ignore[attr-defined]
    assert len(begun) == 1
    assert len(refusals) == 99
    assert {type(refusal) for refusal in refusals} == {Conflict}


def test_a_reserved_one_is_refused_and_works_again_once_freed(world: World) -> None:
    """While an approval waits nobody else may spend it."""
    challenge, text = result_of(world.challenge_passwords.create(SYSTEM))
    principal = result_of(world.authenticator.challenge(text, ADDRESS, ANY_CSR))
    begun = result_of(world.store.begin(request_of(world, principal), None, world.now))
    assert isinstance(begun, Begun)
    failure_of(world.authenticator.challenge(text, ADDRESS, ANY_CSR), AuthenticationFailed)
    assert result_of(world.authenticator.challenge_id(text)) == challenge.id
    result_of(world.store.reject(begun.request_id, "root", "no", Event("x", "x", "x", "test"), world.now))
    result_of(world.authenticator.challenge(text, ADDRESS, ANY_CSR))


def test_wrong_expired_and_foreign_ones_get_one_answer(world: World) -> None:
    _, expired = result_of(world.challenge_passwords.create(SYSTEM, validity=timedelta(seconds=5)))
    other, _ = new_challenge(Sealer(b"another key"))
    result_of(world.authenticator.challenge(expired, ADDRESS, ANY_CSR))
    world.clock.advance(5)
    messages = {
        failure_of(world.authenticator.challenge(text, ADDRESS, ANY_CSR), AuthenticationFailed).public
        for text in (expired, other, "", "x", "0" * 31, "0" * 33, "Z" * 32, "\ud800" * 32, "x" * 1_000_000)
    }
    assert messages == {"the challenge password is wrong, used or expired"}


def test_a_suspended_owner_ends_it(world: World) -> None:
    alice = world.add("alice")
    _, text = result_of(world.challenge_passwords.create(world.as_person(alice)))
    result_of(world.accounts.suspend(SYSTEM, alice.id))
    failure_of(world.authenticator.challenge(text, ADDRESS, ANY_CSR), AuthenticationFailed)
    result_of(world.accounts.activate(SYSTEM, alice.id))
    result_of(world.authenticator.challenge(text, ADDRESS, ANY_CSR))
    result_of(world.accounts.delete(SYSTEM, alice.id))
    failure_of(world.authenticator.challenge(text, ADDRESS, ANY_CSR), AuthenticationFailed)


def test_failures_are_recorded_by_eight_digits_at_most(world: World) -> None:
    """CHP-2: the event never has the whole password, and nothing of an unknown one."""
    ours, _ = new_challenge(world.sealer)
    for text in (ours, "device-password-1"):
        failure_of(world.authenticator.challenge(text, ADDRESS, ANY_CSR), AuthenticationFailed)
    first, second = (record.event for record in world.events("failed login"))
    assert (first.resource_type, first.resource_name) == ("challenge password", ours[:8])
    assert second.resource_name == "unknown"
    assert first.details == {"ip": ADDRESS, "reason": "no such challenge password"}
    assert ours[8:] not in repr(world.events())
    assert "device-password" not in repr(world.events())


def test_challenge_failures_lock_the_address_for_what_is_not_available(world: World) -> None:
    _, text = result_of(world.challenge_passwords.create(SYSTEM))
    for _ in range(30):
        failure_of(world.authenticator.challenge("0" * 32, ADDRESS, ANY_CSR), AuthenticationFailed)
    failure_of(world.authenticator.challenge("0" * 32, ADDRESS, ANY_CSR), RateLimited)
    result_of(world.authenticator.challenge(text, ADDRESS, ANY_CSR))


def test_it_is_looked_up_by_its_keyed_digest_only(world: World) -> None:
    """CHP-2, constant time: the store looks up an HMAC, so timing reveals no correct prefix of a guess."""
    challenge, text = result_of(world.challenge_passwords.create(SYSTEM))
    digest = world.sealer.digest("challenge", text.encode())
    found = result_of(world.store.challenge_by_lookup(digest))
    assert found is not None
    assert found.id == challenge.id
    assert text.encode() not in found.sealed
    near = world.sealer.digest("challenge", (text[:-1] + ("0" if text[-1] != "0" else "1")).encode())
    assert sum(a == b for a, b in zip(digest, near, strict=True)) < 16
