"""Lists of names for enrollment batches (ENR-1)."""

from __future__ import annotations

import pytest

from pikachu.accounts.batch_names import MAX_NAMES, read_batch_names
from pikachu.core.errors import MalformedRequest


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("pump-001", [("CN=pump-001", ())]),
        ("pump-001,pump-001.example.com , 192.0.2.1", [("CN=pump-001", ("DNS:pump-001.example.com", "IP:192.0.2.1"))]),
        ("a\r\n\r\n# b\nc\n", [("CN=a", ()), ("CN=c", ())]),
        (
            "\ufeffName;SANs\na;a.example.com;URI:https://example.com/?a,b\n",
            [
                ("CN=a", ("DNS:a.example.com", "URI:https://example.com/?a,b")),
            ],
        ),
        ("a\ta.example.com\t\nb", [("CN=a", ("DNS:a.example.com",)), ("CN=b", ())]),
        ('"CN=a,O=Other",a.example.com', [("CN=a,O=Other", ("DNS:a.example.com",))]),
        ('"Pump, ""big""+1"', [('CN=Pump\\, \\"big\\"\\+1', ())]),
        ("subject\ncn", [("CN=cn", ())]),
    ],
)
def test_read(text: str, names: list[tuple[str, tuple[str, ...]]]) -> None:
    """Separators, headings, comments, quotes, whole subjects."""
    assert [(one.subject, one.sans) for one in read_batch_names(text)] == names


def test_other_attributes() -> None:
    """They belong to common names, not to whole subjects."""
    names = read_batch_names('a\n"CN=b,O=Other"', " O=Example,C=DE ")
    assert [one.subject for one in names] == ["CN=a,O=Example,C=DE", "CN=b,O=Other"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Enter at least one name."),
        ("name\n", "Enter at least one name."),
        ("a\nb,c d", "Line 2: "),
        ("a\n,a.example.com", "Line 2: Enter a common name first."),
        ("a\nb\nA", "Line 3: This is the subject of line 1."),
        ('a\n"b', "Line 2: A quotation mark is not closed."),
        ("x" * 65, "Line 1: "),
        ("\n".join(f"{number},a b" for number in range(20)), "Line 10: "),
        ("\n".join(map(str, range(MAX_NAMES + 1))), "Enter at most 10,000 names."),
    ],
)
def test_refused(text: str, message: str) -> None:
    """The lines that are wrong are named, at most ten of them."""
    with pytest.raises(MalformedRequest) as caught:
        read_batch_names(text)
    assert message in caught.value.public
    assert "Line 11:" not in caught.value.public
