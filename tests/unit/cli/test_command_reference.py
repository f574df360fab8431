"""The guide's reference of commands says what the command line takes (UI-10, INT-1)."""

from __future__ import annotations

import argparse

from pikachu.cli.main import parser
from tests.support.command_reference import FILE, cell, placeholder, reference


def test_the_chapter_is_current() -> None:
    """``python -m tests.support.command_reference`` writes it again."""
    assert FILE.read_text("utf-8") == reference()


def test_every_argument_is_there() -> None:
    """Each command has a section with its synopsis, and each argument a row."""
    sections = {}
    for part in reference().split("\n## ")[1:]:
        for section in part.split("\n### "):
            heading, _, text = section.partition("\n")
            sections[heading] = text

    def check(name: str, command: argparse.ArgumentParser) -> None:
        for action in command._actions:
            if isinstance(action, argparse._SubParsersAction):
                for word, subcommand in action.choices.items():
                    check(f"{name} {word}", subcommand)
            elif action.dest not in ("help", "config", "version"):
                spelling = action.option_strings[-1] if action.option_strings else placeholder(action)
                synopsis, _, rows = sections[name].partition("\n```\n")
                assert synopsis.startswith(f"\n```text\n{name}")
                assert spelling in synopsis, (name, spelling)
                assert any(row.startswith((f"| `{cell(spelling)}", f"| `[{spelling}")) for row in rows.splitlines()), (
                    name
                )

    check("pikachu", parser())
