"""Writes the guide's reference of commands from the parser of the command line (UI-10, INT-1).

``python -m tests.support.command_reference`` writes the file; a test compares it.
"""

from __future__ import annotations

from argparse import SUPPRESS, Action, ArgumentParser, _AppendAction, _SubParsersAction
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pikachu.cli.main import parser

FILE: Final = Path(__file__).parents[2] / "docs/guide/61-commands.md"
_HEAD: Final = """\
# Commands

Every command of `pikachu`, as `pikachu COMMAND --help` explains it. Commands work on the database that the
configuration names, beside a running server or without one; an account that can read the configuration and its files
acts as an administrator.

- Each command takes `--config FILE` (default: `config.ini` in the working directory) and `--help`; options are not
  abbreviated.
- Exit codes: 0 done; 1 failed, refused or wrong configuration; 2 wrong usage. Errors are one line on standard error.
- Secrets are read from files, standard input or prompts, never from arguments.
"""


def reference() -> str:
    """Return the Markdown of the chapter."""
    lines = [_HEAD]
    for name, command, about in _commands(parser()):
        lines += [f"## pikachu {name}", ""]
        groups = list(_commands(command))
        lines += _command(f"pikachu {name}", command, about) if not groups else [_sentence(command.description), ""]
        for subcommand, its_parser, its_about in groups:
            full = f"pikachu {name} {subcommand}"
            lines += [f"### {full}", "", *_command(full, its_parser, its_about)]
    return "\n".join(lines)


def _commands(top: ArgumentParser) -> Iterator[tuple[str, ArgumentParser, str]]:
    """Yield the subcommands: name, parser and summary."""
    for action in top._actions:
        if isinstance(action, _SubParsersAction):
            about = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, command in action.choices.items():
                yield name, command, about[name]


def _command(full: str, command: ArgumentParser, about: str) -> list[str]:
    """Return usage, explanation and a table of the arguments."""
    actions = [one for one in command._actions if one.dest not in ("help", "config")]
    lines = ["```text", *_usage(full, command, actions), "```", "", _sentence(command.description or about), ""]
    if actions:
        lines += ["| Argument | Meaning |", "|---|---|"]
        lines += [f"| `{cell(_spelling(one))}` | {_meaning(command, one)} |" for one in actions]
        lines.append("")
    if command.epilog:
        lines += [_sentence(command.epilog), ""]
    return lines


def _usage(full: str, command: ArgumentParser, actions: list[Action]) -> list[str]:
    """Return the lines of the synopsis; argparse's own differs between versions of Python."""
    parts, grouped = [], set()
    exclusive = {id(one): group for group in command._mutually_exclusive_groups for one in group._group_actions}
    # Positional arguments come first, as they do in most examples.
    for action in sorted(actions, key=lambda one: bool(one.option_strings)):
        group = exclusive.get(id(action))
        if group is None:
            part = _spelling(action)
            part = part if action.required or part.startswith("[") else f"[{part}]"
            parts.append(f"{part} …" if isinstance(action, _AppendAction) else part)
        elif id(group) not in grouped:
            grouped.add(id(group))
            part = " | ".join(_spelling(one) for one in group._group_actions)
            parts.append(f"({part})" if group.required else f"[{part}]")
    lines = [full]
    for part in parts:
        if len(lines[-1]) + len(part) >= 100:
            lines.append("   ")
        lines[-1] += f" {part}"
    return lines


def _spelling(action: Action) -> str:
    """Return how an argument is written."""
    if action.option_strings:
        value = "" if action.nargs == 0 else f" {placeholder(action)}"
        return f"{action.option_strings[-1]}{value}"
    name = placeholder(action)
    return {"*": f"[{name} …]", "+": f"{name} …", "?": f"[{name}]"}.get(str(action.nargs), name)


def placeholder(action: Action) -> str:
    """Return the name or the choices of an argument's value."""
    if action.metavar is not None:
        return str(action.metavar)
    return "|".join(map(str, action.choices)) if action.choices else action.dest.upper()


def _meaning(command: ArgumentParser, action: Action) -> str:
    """Return the explanation of an argument, with its choices where it doesn't show them."""
    text = "" if action.help in (None, SUPPRESS) else command._get_formatter()._expand_help(action)
    if action.option_strings and action.required:
        text = f"{text} (required)" if text else "required"
    if action.choices and action.metavar is not None and not all(str(one) in text for one in action.choices):
        text = f"{text}: {', '.join(map(str, action.choices))}"
    return cell(text)


def _sentence(text: str | None) -> str:
    """Return help text as a paragraph."""
    joined = " ".join((text or "").split())
    if not joined:
        return ""
    return f"{joined[0].upper()}{joined[1:]}{'' if joined[-1] in '.:' else '.'}"


def cell(text: str) -> str:
    """Return text as it is written in a table."""
    return text.replace("|", "\\|")


def main() -> None:
    """Write the chapter."""
    FILE.write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
