"""The scripts of PowerShell: their grammar, and the commands that they run (OPS-2).

PowerShell itself is no package of Debian or PyPI; its grammar is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import tree_sitter_powershell
from tree_sitter import Language, Node, Parser

from pikachu.cli.main import parser as command_parser

FOLDER = Path(__file__).parents[2] / "script" / "powershell"
SCRIPTS = sorted(FOLDER.glob("*.ps1"))
PARSER = Parser(Language(tree_sitter_powershell.language()))
pytestmark = pytest.mark.interop

#: Stands for every variable: a word, and a number.
VALUE = "7"
#: What each script is for, by the beginnings of the commands that it runs.
PURPOSES: dict[str, list[tuple[str, ...]]] = {
    "Start-Pikachu": [("start",)],
    "Stop-Pikachu": [("stop",)],
    "Start-Vault": [("vault", "start"), ("vault", "unseal")],
    "Stop-Vault": [("vault", "stop")],
    "Set-VaultCredential": [("vault", "credentials"), ("vault", "credentials")],
    "Initialize-Database": [("init",)],
    "Update-Database": [("migrate",), ("migrate",)],
    "Clear-Pikachu": [("housekeeping", "--events-older-than")],
}


def nodes(root: Node, kind: str) -> Iterator[Node]:
    """The nodes of a kind, in their order."""
    if root.type == kind:
        yield root
    for child in root.children:
        yield from nodes(child, kind)


def text(node: Node) -> str:
    """Its source."""
    assert node.text is not None
    return node.text.decode()


def words(node: Node, lists: dict[str, list[str]]) -> list[str]:
    """The words of an array of words and variables; a variable that holds a list of words stands for them."""
    result: list[str] = []
    if node.type == "verbatim_string_characters":
        result.append(text(node).strip("'"))
    elif node.type == "variable":
        result += lists.get(text(node), [VALUE])
    else:
        assert node.type not in ("expandable_string_literal", "command_expression"), text(node)
        for child in node.children:
            result += words(child, lists)
    return result


def commands(root: Node) -> list[list[str]]:
    """The arguments of each call of ``pikachu`` in a script, with all its options and a word for each variable."""
    lists: dict[str, list[str]] = {}
    for node in nodes(root, "assignment_expression"):
        target, *_, value = node.children
        if text(value).startswith("@("):
            lists.setdefault(text(target), []).extend(words(value, {}))
    found = []
    for node in nodes(root, "command"):
        if text(node).startswith("Invoke-Pikachu"):
            elements = next(child for child in node.children if child.type == "command_elements")
            first = next(child for child in elements.children if child.type == "array_literal_expression")
            found.append(words(first, lists))
    return found


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_grammar(path: Path) -> None:
    """Each file is PowerShell, and ASCII, which Windows PowerShell reads without a byte order mark."""
    content = path.read_bytes()
    assert not PARSER.parse(content).root_node.has_error
    assert content.isascii()


def test_an_error_is_found() -> None:
    """The grammar does not accept everything."""
    assert PARSER.parse(b"if ($true { Write-Output 'x' }").root_node.has_error


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_form(path: Path) -> None:
    """Each script has help, is strict, documents its parameters, and has an example with its own name."""
    source = path.read_text("ascii")
    root = PARSER.parse(source.encode()).root_node
    help_text = next(text(node) for node in nodes(root, "comment"))
    assert source.startswith(help_text)
    for part in (".SYNOPSIS", ".DESCRIPTION", ".EXAMPLE"):
        assert part in help_text
    assert f"./script/powershell/{path.name}" in help_text
    parameters = {text(node).lstrip("$") for node in _parameters(root)}
    assert parameters == set(re.findall(r"^\.PARAMETER (\w+)$", help_text, re.MULTILINE))
    assert "Set-StrictMode -Version Latest" in source
    assert "$ErrorActionPreference = 'Stop'" in source
    # Only the module runs programs.
    assert "&" not in source.replace(help_text, "")


def _parameters(root: Node) -> Iterator[Node]:
    for node in nodes(root, "script_parameter"):
        yield next(child for child in node.children if child.type == "variable")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_commands(path: Path) -> None:
    """Each call is one that ``pikachu`` accepts, and every script runs what it is for."""
    root = PARSER.parse(path.read_bytes()).root_node
    found = commands(root)
    for arguments in found:
        parsed = command_parser().parse_args(arguments)
        assert parsed.config == VALUE
        assert callable(parsed.run)
    expected = PURPOSES[path.stem]
    assert len(found) == len(expected)
    for arguments, start in zip(found, expected, strict=True):
        assert tuple(arguments[: len(start)]) == start


def test_secrets_are_no_arguments() -> None:
    """Secure strings are used for standard input only."""
    source = (FOLDER / "Set-VaultCredential.ps1").read_text("ascii")
    root = PARSER.parse(source.encode()).root_node
    assert {word for arguments in commands(root) for word in arguments} == {
        *("vault", "credentials", "--no-login", "--config", VALUE)
    }
    for node in nodes(root, "command"):
        if text(node).startswith("Invoke-Pikachu"):
            array, _, after = text(node).partition("-InputText")
            assert "Secret" not in array
            assert after.strip() == "$credentials"
