"""Time-based one-time passwords."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.auth.second_factor import new_recovery_code, recovery_digest
from pikachu.auth.totp import matching_step, new_secret, provisioning_uri, secret_text
from tests.support.totp import code_at

SECRET = b"12345678901234567890"


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (2000000000, "279037")],
)
def test_vectors(seconds: int, code: str) -> None:
    """The last six digits of the codes in RFC 6238, appendix B."""
    assert code_at(SECRET, seconds) == code
    assert matching_step(SECRET, code, seconds) == seconds // 30


def test_clocks_differ() -> None:
    """A code is good one step before and after its own."""
    code = code_at(SECRET, 3000)
    accepted = [seconds for seconds in range(2940, 3090, 10) if matching_step(SECRET, code, seconds) == 100]
    assert (accepted[0], accepted[-1]) == (2970, 3050)
    assert matching_step(SECRET, f" {code[:3]} {code[3:]} ", 3000) == 100
    assert matching_step(SECRET, code_at(SECRET, 0), 0) == 0


@given(st.text(max_size=12), st.integers(0, 2**40))
def test_other_texts(text: str, seconds: int) -> None:
    """Anything else is wrong, whatever digits some alphabet has."""
    right = {code_at(SECRET, max(0, seconds + drift)) for drift in (-30, 0, 30)}
    if "".join(text.split()) not in right:
        assert matching_step(SECRET, text, seconds) is None


def test_what_an_app_reads() -> None:
    """The URI has the secret, and names the server and the user."""
    secret = new_secret()
    uri = urlsplit(provisioning_uri(secret, "al ice&x", "ca.example.org"))
    query = parse_qs(uri.query)
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    assert uri.path == "/Pikachu%20CA%20%28ca.example.org%29%3Aal%20ice%26x"
    assert query["issuer"] == ["Pikachu CA (ca.example.org)"]
    assert base64.b32decode(query["secret"][0]) == secret
    assert base64.b32decode(secret_text(secret).replace(" ", "")) == secret


def test_recovery_codes() -> None:
    """They are found however they are typed, for one account only."""
    code = new_recovery_code()
    digest = recovery_digest(1, code)
    assert digest is not None
    assert recovery_digest(1, f" {code.replace('-', ' ').upper()}") == digest
    assert recovery_digest(2, code) != digest
    assert recovery_digest(1, code[:-1]) is None
    assert recovery_digest(1, "123456") is None
