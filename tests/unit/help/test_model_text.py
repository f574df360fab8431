"""Questions to a language model lose their secrets, and its answers foreign addresses (UI-11)."""

from __future__ import annotations

import pytest

from pikachu.help.model_text import ADDRESS_REMOVED, MAX_ANSWER, Segment, harmless, segments, without_secrets

KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIG\n-----END EC PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("question", "sent"),
    [
        ("why is serial 3a4f revoked?", None),
        ("how long is a password?", None),
        ("what is the token for?", None),
        ("is pump-001.example.com valid until 2026-12-31?", None),
        (f"what is wrong with {KEY} please", "what is wrong with (removed) please"),
        ("-----BEGIN PRIVATE KEY-----\nMC4CAQ", "(removed)"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMC4CAQ\n-----END", "(removed)"),
        ("pik_0123456789abcdef fails", "(removed) fails"),
        ("vault token hvs.CAESIJ0123456789", "vault token (removed)"),
        ("0123456789abcdef0123456789ABCDEF is refused", "(removed) is refused"),
        ("my password is hunter22, why", "my password is (removed) why"),
        ("PIN: 5678 is wrong", "PIN: (removed) is wrong"),
        ("secret_key=abc", "secret_key=(removed)"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer (removed)"),
        ("postgresql://pikachu:hunter22@db/ca", "postgresql://(removed)@db/ca"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig", "(removed)"),
    ],
)
def test_secrets_are_removed(question: str, sent: str | None) -> None:
    """A question with a secret loses it; others are sent as they are."""
    assert without_secrets(question) == (question if sent is None else sent)


KNOWN = ["curl https://ca.example.com:8443/.well-known/est/cacerts"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Open Keys [1].", "Open Keys [1]."),
        ("Ask https://ca.example.com:8443/.well-known/est/cacerts.", None),
        ("Go to https://evil.example.com/login?q=1, now", f"Go to {ADDRESS_REMOVED}, now"),
        ("https://ca.example.com:8443.evil.example.com/", ADDRESS_REMOVED),
        ("https://ca.example.co and http://ca.example.com:8443/", f"{ADDRESS_REMOVED} and {ADDRESS_REMOVED}"),
        ("https://ca.example.com:8443@evil.example.com/ https://[", f"{ADDRESS_REMOVED} {ADDRESS_REMOVED}"),
        ("[here](javascript:alert(1))", f"[here]({ADDRESS_REMOVED}))"),
        ("www.evil.example.com and mailto:a@example.com", f"{ADDRESS_REMOVED} and {ADDRESS_REMOVED}"),
        ("DATA:text/html;base64,AAAA", ADDRESS_REMOVED),
        ("a\u202eb\u200bc\x00d\x1b[31me\ufefff", "abcd[31mef"),
        ("ht\u200btps://evil.example.com", ADDRESS_REMOVED),
        ("one\r\ntwo\tthree", "one\ntwo\tthree"),
    ],
)
def test_answers_are_harmless(text: str, shown: str | None) -> None:
    """Addresses of others and hidden characters are removed."""
    assert harmless(text, KNOWN, is_complete=True) == (text if shown is None else shown)


def test_growing_answers() -> None:
    """A part of an answer has only whole words, so that no address is shown before it is known; length is bounded."""
    assert harmless("Go to https://ev", KNOWN, is_complete=False) == "Go to"
    assert harmless("word", KNOWN, is_complete=False) == ""
    assert len(harmless("word " * MAX_ANSWER, KNOWN, is_complete=True)) <= MAX_ANSWER


def test_citations() -> None:
    """Numbers of sources are links, other numbers are text."""
    assert segments("See [2], [3] and [0]", ["/help/a", "/help/b"]) == (
        Segment("See "),
        Segment("[2]", "/help/b"),
        Segment(", [3] and [0]"),
    )
    assert segments("", ["/help/a"]) == ()
