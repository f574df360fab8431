"""Glob patterns of policies: matches, and the cost of matching."""

from __future__ import annotations

import contextlib
import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.core.errors import PolicyViolation
from pikachu.core.model.policies import NAME_PATTERN, Policy, PolicyLimits
from pikachu.ra.policies import check_limits
from pikachu.ra.policy_administration import MAXIMUM_PATTERNS
from pikachu.x509.name_patterns import Budget, GlobPattern
from pikachu.x509.spki import describe_spki
from tests.support.pki import make_key, spki
from tests.support.reference_work import BATCH, cost_in_signatures

KEY = describe_spki(spki(make_key("p256")))


def fits(pattern: str, text: str) -> bool:
    return GlobPattern(pattern).matches(text, Budget())


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("**", "a", True),
        ("?", "", False),
        ("?", "ä", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*ab*ab*", "abab", True),
        ("*ab*ab*", "aba", False),
        ("*a?c*", "abdabc", True),
        ("*?*?*", "a", False),
        ("*?*?*", "ab", True),
        ("CN=*.example.com,O=Acme", "CN=a.b.example.com,O=Acme", True),
        ("DNS:device-????.example.com", "DNS:device-0042.example.com", True),
        ("DNS:device-????.example.com", "DNS:device-42.example.com", False),
        ("IP:[2001:db8::]*", "IP:[2001:db8::]1", True),
        ("[ab]", "a", False),
        ("a\n*", "a\n\nb", True),
        ("A", "a", False),
    ],
)
def test_what_fits(pattern: str, text: str, expected: bool) -> None:
    """Only ``*`` and ``?`` have a meaning."""
    assert fits(pattern, text) is expected


@given(st.text("ab*?\n", max_size=12), st.text("ab\n", max_size=16))
def test_like_fnmatch(pattern: str, text: str) -> None:
    assert fits(pattern, text) is fnmatch.fnmatchcase(text, pattern)


LONG = "a" * 2000
# What a pattern of 256 characters can be made of; %d makes 64 of them.
HARD = {
    "stars": "*a" * 120 + "*%d*",
    "stars and question marks": "*a?" * 80 + "*%d*",
    "question marks between": "*" + "a?" * 120 + "b*%d*",
    "question marks only": "*" + "?" * 240 + "*%d*",
    "one question mark": "*a?b*%d*",
    "a literal that fails at its end": "*" + "a" * 240 + "ba*%d*",
    "a literal that fails at its beginning": "*b" + "a" * 240 + "*%d*",
    "a literal that fails in the middle": "*" + "a" * 120 + "b" + "a" * 120 + "*%d*",
    "a long beginning": "URI:http://" + "a" * 220 + "*%d",
    "a long end": "*" + "a" * 240 + "b%d",
    "backslashes": "*" + "\\," * 110 + "*%d*",
}
NAMES = {
    "long URIs": ["URI:http://" + LONG] * 32,
    "host names": [f"DNS:{'a' * 240}{number}" for number in range(100)],
    "escaped": ["dirName:CN=" + "\\," * 8000] * 3,
    "characters of many bytes": ["dirName:CN=" + "\U0001f468" * 2000] * 4,
}


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("pattern", HARD)
def test_cost(pattern: str, names: str) -> None:
    """A user makes both the patterns and the request: all of a request within the time of a batch."""
    patterns = tuple(HARD[pattern] % number for number in range(MAXIMUM_PATTERNS - 1))
    assert all(len(one) <= NAME_PATTERN.maximum for one in patterns)
    for last in ("*", "nothing fits this"):
        limits = PolicyLimits(subject=HARD[pattern].replace("%d", ""), names=(*patterns, last))
        open_limits = PolicyLimits(names=limits.names)

        for one, subject in ((limits, "CN=" + "a" * 8000), (limits, "CN=" + "\\," * 8000), (open_limits, "CN=x")):

            def check(one: PolicyLimits = one, subject: str = subject) -> None:
                with contextlib.suppress(PolicyViolation):
                    check_limits(Policy(1, "limited", 30, "", limits=one), KEY, subject, NAMES[names])

            assert cost_in_signatures(check) < BATCH


def test_many_ordinary_names_under_many_patterns() -> None:
    """The bound is far from what people do."""
    patterns = tuple(f"DNS:*-?.*.d{number}.*.example.com" for number in range(MAXIMUM_PATTERNS))
    names = [f"DNS:host{number}-a.department.d63.site.example.com" for number in range(100)]
    check_limits(Policy(1, "limited", 30, "", limits=PolicyLimits(names=patterns)), KEY, "CN=x", names)
    with pytest.raises(PolicyViolation, match="does not allow the name DNS:other"):
        check_limits(Policy(1, "x", 30, "", limits=PolicyLimits(names=patterns)), KEY, "CN=x", [*names, "DNS:other"])
