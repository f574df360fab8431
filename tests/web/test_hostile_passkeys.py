"""Answers that no honest browser or authenticator gives: nothing is registered, and nobody is signed in (ROL-2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pikachu.core.model.people import SYSTEM
from pikachu.web.browsers import SESSION
from tests.support.deferreds import result_of
from tests.support.passkeys import UP, UV, Authenticator, encode
from tests.support.stack import build_core
from tests.support.visitor import Pages, Visitor, make_pages
from tests.web.test_ui_passkeys import NEW, ORIGIN, question, register, registered, sign_in

POINT = b"\x21\x58\x20" + bytes(32) + b"\x22\x58\x20" + bytes(32)
WRONG_ORIGINS = {
    f"origin {origin or 'missing'}": {"origin": origin}
    for origin in (
        "http://ca.example.org",
        "https://ca.example.org:1",
        "https://ca.example.org.evil.example.com",
        "https://evil.ca.example.org",
        "https://CA.EXAMPLE.ORG@evil.example.com",
        "null",
        "",
    )
}
CLIENT_DATA: dict[str, dict[str, Any]] = {
    **WRONG_ORIGINS,
    "origin that is no text": {"origin": 7},
    "another challenge": {"challenge": encode(bytes(32))},
    "no challenge": {"challenge": ""},
    "a challenge that is no text": {"challenge": None},
    "another host": {"host": "evil.example.com"},
    "a parent of the host": {"host": "example.org"},
}


def cut(length: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:length]


def constant(data: bytes) -> Callable[[bytes], bytes]:
    return lambda _: data


#: Changes of what :meth:`Authenticator.create` answers.
REGISTRATIONS: dict[str, dict[str, Any]] = {
    **CLIENT_DATA,
    "the answer of a sign-in": {"type": "webauthn.get"},
    **{f"CBOR of {length} bytes": {"mangle": cut(length)} for length in (0, 1, 5, 30, 60, 90, 120, -40, -1)},
    "CBOR nested deeply": {"mangle": constant(b"\x81" * 20_000)},
    "CBOR with maps as keys": {"mangle": constant(b"\xa1" * 2_000)},
    "octets of 8 EiB": {"mangle": constant(b"\x5b\x7f" + b"\xff" * 7)},
    "text of 2 GiB": {"mangle": constant(b"\x7a\x7f\xff\xff\xff")},
    "an array of 2^60": {"mangle": constant(b"\x9b\x10" + bytes(7))},
    "an array of 2^28": {"mangle": constant(b"\x9a\x10" + bytes(3))},
    "a map of 2^60": {"mangle": constant(b"\xbb\x10" + bytes(7))},
    "a reserved length": {"mangle": constant(b"\x5c")},
    "octets without end": {"mangle": constant(b"\x5f" + b"\x41a" * 1_000)},
    "a large number": {"mangle": constant(b"\xc2\x59\x40\x00" + b"\xff" * 0x4000)},
    "text that is not UTF-8": {"mangle": constant(b"\xa1\x61\xff\x00")},
    "a list in place of a map": {"mangle": constant(b"\x80")},
    "no authenticator data": {"mangle": constant(b"\xa1\x63fmt\x64none")},
    "authenticator data that is a number": {"mangle": constant(b"\xa1\x68authData\x01")},
    "empty authenticator data": {"mangle": constant(b"\xa1\x68authData\x40")},
    "no public key": {"cose": b""},
    "a public key cut off": {"cose": b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20abc"},
    "a public key that is a number": {"cose": b"\x01"},
    "a public key without an algorithm": {"cose": b"\xa4\x01\x02\x20\x01" + POINT},
    "the algorithm RS1": {"cose": b"\xa5\x01\x02\x03\x39\xff\xfe\x20\x01" + POINT},
    "the algorithm ES256K": {"cose": b"\xa5\x01\x02\x03\x38\x2e\x20\x08" + POINT},
    "the algorithm HS256": {"cose": b"\xa5\x01\x04\x03\x05\x20\x01" + POINT},
    "the algorithm none": {"cose": b"\xa5\x01\x02\x03\x00\x20\x01" + POINT},
    "an algorithm that is text": {"cose": b"\xa5\x01\x02\x03\x65ES256\x20\x01" + POINT},
}
#: Changes of what :meth:`Authenticator.get` answers.
SIGN_INS: dict[str, dict[str, Any]] = {
    **CLIENT_DATA,
    "the answer of a registration": {"type": "webauthn.create"},
    **{f"authenticator data of {length} bytes": {"mangle": cut(length)} for length in (0, 1, 32, 33, 36)},
    "extensions that are announced and missing": {"mangle": lambda data: data[:32] + b"\x85" + data[33:]},
    "a key that is announced and missing": {"mangle": lambda data: data[:32] + b"\x45" + data[33:]},
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    stack = build_core(tmp_path_factory.mktemp("core"))
    made = make_pages(stack)
    made.add("mallory")
    made.add("marvin")
    yield made
    stack.close()


@pytest.fixture
def pages(shared: Pages) -> Pages:
    """Pages on which failures of one test don't lock out the next one."""
    shared.clock.advance(4000)
    return shared


@pytest.fixture(scope="module")
def victim(shared: Pages) -> Authenticator:
    """The device of an account."""
    return registered(shared, "victim")[0]


def owned(pages: Pages, name: str) -> int:
    """How many passkeys an account has."""
    return len(result_of(pages.stack.app.passkeys.of_account(SYSTEM, pages.accounts[name].id)))


def offered(visitor: Visitor, device: Authenticator, **changes: Any) -> int:
    """The status of a registration with an answer that is changed."""
    asked = question(visitor, "/account/passkeys/options")
    answer = device.create(asked["publicKey"], **changes)
    fields = {"name": "x", "offer": asked["offer"], "credential": answer}
    return visitor.post("/account/passkeys", fields, page=NEW).status


def test_registrations(pages: Pages) -> None:
    """Each is refused as malformed, and the same device is accepted afterwards."""
    visitor, device = pages.visitor("mallory", confirmed=True), Authenticator(ORIGIN)
    refused = {name: offered(visitor, device, **changes) for name, changes in REGISTRATIONS.items()}
    assert {name: status for name, status in refused.items() if status != 400} == {}
    for flags in (0, UP, UV):
        assert offered(visitor, Authenticator(ORIGIN, flags=flags)) == 400, flags
    for length in (0, 1024, 0x4000):
        assert offered(visitor, Authenticator(ORIGIN, credential_id=bytes(length))) == 400, length
    assert owned(pages, "mallory") == 0
    assert offered(visitor, device) == 303
    assert owned(pages, "mallory") == 1


def test_a_credential_that_another_account_has(pages: Pages, victim: Authenticator) -> None:
    """It stays the other account's, whichever key comes with its id."""
    visitor = pages.visitor("marvin", confirmed=True)
    taken = Authenticator(ORIGIN, credential_id=victim.credential_id)
    assert register(visitor, "theirs", taken).status == 409
    assert owned(pages, "marvin") == 0
    assert sign_in(pages.visitor(), taken).headers.get("Location") != "/"
    pages.clock.advance(1)
    assert sign_in(pages.visitor(), victim).headers["Location"] == "/"


@pytest.mark.parametrize("name", SIGN_INS)
def test_sign_ins(pages: Pages, victim: Authenticator, name: str) -> None:
    """Each is refused, and the honest answer signs in afterwards."""
    visitor = pages.visitor()
    sign_in(visitor, victim, **SIGN_INS[name])
    assert SESSION not in visitor.cookies
    pages.clock.advance(1)
    assert sign_in(visitor, victim).headers["Location"] == "/"


def test_signatures(pages: Pages, victim: Authenticator) -> None:
    """Signatures of other keys or challenges, or none, sign nobody in; neither does a counter that went back."""
    visitor = pages.visitor()
    earlier = victim.get(question(visitor, "/login/passkey")["publicKey"])
    for change in (
        {"signature": ""},
        {"signature": "!"},
        {"signature": encode(bytes(72))},
        {"signature": json.loads(earlier)["response"]["signature"]},
        {"userHandle": encode(b"somebody else")},
        {"userHandle": ""},
        {"clientDataJSON": encode(b"{")},
        {"clientDataJSON": encode(b"[" * 5_000)},
        {"authenticatorData": None},
    ):
        asked = question(visitor, "/login/passkey")
        answer = json.loads(victim.get(asked["publicKey"]))
        answer["response"] |= change
        fields = {"offer": asked["offer"], "credential": json.dumps(answer)}
        visitor.post("/login/passkey", fields, page="/login")
        assert SESSION not in visitor.cookies, change
        pages.clock.advance(1)
    assert sign_in(visitor, victim).headers["Location"] == "/"
    assert victim.count is not None
    victim.count -= 2
    other = pages.visitor()
    sign_in(other, victim)
    assert SESSION not in other.cookies
    victim.count += 2
