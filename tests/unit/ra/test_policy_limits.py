"""Requests within and beyond a policy's limits (POL-4)."""

from __future__ import annotations

import pytest

from pikachu.core.errors import ConfigError, PolicyViolation
from pikachu.core.model.policies import Policy, PolicyLimits
from pikachu.ra.default_policy import read_validity
from pikachu.ra.policies import check_limits
from pikachu.x509.names import COMMON_NAME, build_name, parse_name
from pikachu.x509.spki import describe_spki
from tests.support.pki import make_key, spki

ORGANIZATION = "2.5.4.10"
KEY = describe_spki(spki(make_key("p256")))


def check(limits: PolicyLimits, subject: list[tuple[str, str]], *names: str) -> None:
    check_limits(Policy(1, "limited", 30, "", limits=limits), KEY, parse_name(build_name(subject)).text, names)


def test_a_separator_in_a_value_does_not_fit_one_in_a_pattern() -> None:
    """A common name that holds ``,O=Acme`` is no organization."""
    limits = PolicyLimits(subject="CN=*,O=Acme")
    check(limits, [(ORGANIZATION, "Acme"), (COMMON_NAME, "device")])
    for common_name in ("evil,O=Acme", "evil\\,O=Acme", "evil\\\\,O=Acme"):
        with pytest.raises(PolicyViolation):
            check(limits, [(COMMON_NAME, common_name)])


def test_a_pattern_may_hold_an_escaped_character() -> None:
    limits = PolicyLimits(subject="CN=*,O=Acme\\, Inc.")
    check(limits, [(ORGANIZATION, "Acme, Inc."), (COMMON_NAME, "a,b")])
    with pytest.raises(PolicyViolation):
        check(limits, [(ORGANIZATION, "Acme; Inc."), (COMMON_NAME, "a")])


def test_a_separator_in_a_directory_name_does_not_either() -> None:
    limits = PolicyLimits(names=("dirName:CN=*,O=Acme",))
    check(limits, [(COMMON_NAME, "x")], "dirName:CN=a,O=Acme")
    with pytest.raises(PolicyViolation):
        check(limits, [(COMMON_NAME, "x")], "dirName:CN=a\\,O=Acme")


@pytest.mark.parametrize("text", ["9" * 5000, "default = " + "9" * 5000, "0", "36501", "-1", "1e3", "²", "1_0", ""])
def test_numbers_of_days_that_are_none(text: str) -> None:
    """A file of the operator's, however long its number, gives one short line."""
    with pytest.raises(ConfigError) as caught:
        read_validity(text, "validity.conf")
    assert len(str(caught.value)) < 200
