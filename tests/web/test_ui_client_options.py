"""Commands of programs that are not packaged for the test machine: PowerShell, sscep, estclient (UI-8, ISS-1)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest
import tree_sitter_powershell
from tree_sitter import Language, Parser

from pikachu.web.ui.client_commands import Command, Location, sections
from pikachu.web.ui.device_commands import Enrollment, ways
from tests.unit.web.ui.test_device_commands import CHALLENGE, NAMES, PLACE, names_of

#: The options of certnanny/sscep by operation (its usage and the checks of its main function): required, optional.
SSCEP = {
    "getca": ({"-u", "-c"}, {"-i", "-F", "-E", "-S"}),
    "getnextca": ({"-u", "-c", "-C"}, {"-i", "-F", "-w"}),
    "enroll": ({"-u", "-c", "-k", "-r", "-l"}, {"-K", "-O", "-e", "-L", "-t", "-T", "-n", "-E", "-S"}),
    "getcrl": ({"-u", "-c", "-k", "-l", "-w"}, {"-E", "-S"}),
}
#: The options of globalsign/est's estclient by command (cmd/estclient/commands.go and flags.go).
_COMMON = {"-aps", "-certs", "-explicit", "-implicit", "-key", "-out", "-pass", "-server", "-user", "-timeout"}
ESTCLIENT = {"cacerts": _COMMON | {"-rootout"}, "enroll": _COMMON | {"-csr"}, "reenroll": _COMMON | {"-csr"}}


def all_commands(place: Location = PLACE) -> Iterator[Command]:
    """Every command of the page APIs, and of the page of a device."""
    for section in sections(place):
        for endpoint in section.endpoints:
            yield from endpoint.commands
    for kind in NAMES:
        for label in ("", "it's a policy"):
            enrollment = Enrollment(names_of(kind), CHALLENGE, est_label=label, scep_label=label)
            for way in ways(place, enrollment, est=True, scep=True):
                yield from way.commands


def options_of(program: str, place: Location = PLACE) -> list[tuple[str, dict[str, str]]]:
    """The operation and the options of each call of a program, all of which have a value."""
    found = []
    for command in all_commands(place):
        words = shlex.split(command.text) if command.program == program else []
        if words:
            assert words[0] == program
            assert len(words) % 2 == 0, command.text
            found.append((words[1], dict(zip(words[2::2], words[3::2], strict=True))))
    return found


def test_sscep() -> None:
    """Each call has the options that its operation requires, and no other than sscep knows."""
    calls = options_of("sscep")
    assert {operation for operation, _ in calls} == set(SSCEP)
    for operation, options in calls:
        required, optional = SSCEP[operation]
        assert required <= options.keys() <= required | optional, operation
        assert ("-K" in options) is ("-O" in options)
        assert options["-u"].startswith("http://")
        assert options.get("-E", "aes256") == "aes256"
        assert options.get("-S", "sha256") == "sha256"
    assert any("-O" in options for _, options in calls), "renewal"


def test_sscep_knows_no_https() -> None:
    """Where SCEP is served over HTTPS only, no command is shown that can't work."""
    place = Location(**{name: getattr(PLACE, name) for name in Location.__slots__} | {"http": ""})
    assert options_of("sscep", place) == []


def test_estclient() -> None:
    """Each call has options of its command only."""
    calls = options_of("estclient")
    assert {operation for operation, _ in calls} == {"cacerts", "enroll"}
    for operation, options in calls:
        assert options.keys() <= ESTCLIENT[operation], operation
        assert {"-server", "-explicit", "-out"} <= options.keys()


@pytest.fixture(scope="module")
def parser() -> Parser:
    return Parser(Language(tree_sitter_powershell.language()))


def test_powershell(parser: Parser) -> None:
    """Each command is PowerShell, whatever the names of the device and the policy; the parser notices what is not."""
    texts = [one.text for one in all_commands() if one.program == "powershell"]
    assert sum("Invoke-RestMethod -Authentication Bearer" in text for text in texts) >= 5
    assert sum("simpleenroll" in text for text in texts) == 2 * len(NAMES)
    for text in texts:
        assert not parser.parse(text.encode()).root_node.has_error, text
        broken = re.sub(r"\)$|'$", "", text, count=1)
        assert broken == text or parser.parse(broken.encode()).root_node.has_error, broken
        # The token stands in no argument.
        assert "pik_" not in text
