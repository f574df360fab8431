"""The table from failures to HTTP (API-2), and bodies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.core.errors import MalformedRequest, PikachuError, RateLimited, Unavailable
from pikachu.core.model.people import Role
from pikachu.core.model.policies import PolicyLimits
from pikachu.web.api.bodies import decode_body, encode, plain
from pikachu.web.errors import OUTCOMES, problem_of


def all_of(kind: type[PikachuError]) -> Iterator[type[PikachuError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from all_of(one)


@pytest.mark.parametrize("kind", [one for one in all_of(PikachuError) if one.__module__ == "pikachu.core.errors"])
def test_every_error_has_a_row(kind: type[PikachuError]) -> None:
    """API-2: each class of failures has a status, a title and a type of its own."""
    outcome = OUTCOMES[kind]
    assert outcome.status in {400, 401, 403, 404, 409, 413, 422, 429, 500, 503}
    assert [one for one in OUTCOMES if OUTCOMES[one].type == outcome.type] == [kind]


def test_retry_after() -> None:
    """429 and 503 say when to come again, at least a second from now."""
    assert problem_of(RateLimited("slow down", retry_after=9)).headers == {b"Retry-After": b"9"}
    assert problem_of(Unavailable("later", retry_after=0)).headers == {b"Retry-After": b"1"}


@dataclass(frozen=True, slots=True)
class Body:
    name: str
    number: int | None = None
    flag: bool = False
    role: Role = Role.USER
    names: tuple[str, ...] = ()
    limits: PolicyLimits | None = None


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
KEYS = st.sampled_from(["RSA", "RSA/2048", "EC", "EC/secp384r1", "Ed25519", "PQC/mldsa44"])


@given(
    st.builds(
        Body,
        name=TEXTS,
        number=st.none() | st.integers(-(2**31), 2**31 - 1),
        flag=st.booleans(),
        role=st.sampled_from(Role),
        names=st.lists(TEXTS, max_size=64).map(tuple),
        limits=st.none() | st.builds(PolicyLimits, keys=st.lists(KEYS, max_size=3).map(tuple), max_days=st.none()),
    )
)
def test_round_trip(body: Body) -> None:
    """Encoding and decoding give the same."""
    assert decode_body(Body, encode(body))[0] == body


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([*Body.__dataclass_fields__, "x", "limits.keys"])


@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_other_values(members: dict[str, Any]) -> None:
    """Values of any type give a body of the right types, or MalformedRequest."""
    try:
        body, given_names = decode_body(Body, encode({name: plain(value) for name, value in members.items()}))
    except MalformedRequest:
        pass
    else:
        assert isinstance(body.name, str)
        assert isinstance(body.number, int | None)
        assert given_names == members.keys()


@given(st.binary(max_size=200))
def test_any_octets(data: bytes) -> None:
    """Octets of any kind give a body or MalformedRequest."""
    with contextlib.suppress(MalformedRequest):
        decode_body(Body, data)
