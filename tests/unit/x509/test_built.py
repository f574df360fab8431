"""Extensions of certificates that others build, compared with what was intended."""

from __future__ import annotations

import pytest

from pikachu.x509 import der
from pikachu.x509.built import extension_differences
from pikachu.x509.certificate import BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE, KEY_USAGE, SUBJECT_KEY_IDENTIFIER
from pikachu.x509.extension import Extension

CLIENT, SERVER = der.oid("1.3.6.1.5.5.7.3.2"), der.oid("1.3.6.1.5.5.7.3.1")
NO_CA = Extension(BASIC_CONSTRAINTS, True, der.sequence())
A_CA = Extension(BASIC_CONSTRAINTS, True, der.sequence(der.boolean(True)))
SIGNING = Extension(KEY_USAGE, True, der.named_bits({0}))
BOTH = Extension(EXTENDED_KEY_USAGE, False, der.sequence(CLIENT, SERVER))
OTHER = Extension("1.2.3.4", False, der.null())

CASES: list[tuple[list[Extension], list[Extension], list[str]]] = [
    ([], [], []),
    ([SIGNING, BOTH], [BOTH, SIGNING], []),
    ([], [NO_CA], []),
    ([NO_CA], [], []),
    ([A_CA], [NO_CA], ["basicConstraints is another one"]),
    ([A_CA], [], ["basicConstraints is not intended"]),
    ([], [A_CA], ["basicConstraints is missing"]),
    ([Extension(EXTENDED_KEY_USAGE, False, der.sequence(SERVER, CLIENT))], [BOTH], []),
    ([Extension(EXTENDED_KEY_USAGE, False, der.sequence(SERVER))], [BOTH], ["extendedKeyUsage is another one"]),
    ([Extension(KEY_USAGE, False, SIGNING.value)], [SIGNING], ["keyUsage is another one"]),
    ([SIGNING], [Extension(KEY_USAGE, False, SIGNING.value)], []),
    ([Extension(KEY_USAGE, True, der.named_bits({0, 2}))], [SIGNING], ["keyUsage is another one"]),
    ([OTHER], [], ["1.2.3.4 is not intended"]),
    ([], [OTHER], ["1.2.3.4 is missing"]),
    ([Extension(SUBJECT_KEY_IDENTIFIER, False, der.octet_string(b"1"))], [], []),
]


@pytest.mark.parametrize(("built", "intended", "expected"), CASES)
def test_differences(built: list[Extension], intended: list[Extension], expected: list[str]) -> None:
    """Order, CA:FALSE and what the builder chooses make none; a critical extension stays critical."""
    assert extension_differences(built, intended) == expected
