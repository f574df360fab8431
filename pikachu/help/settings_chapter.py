"""The guide's chapter about settings, generated from their declarations (UI-10)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pikachu.config.schema import Key, keys
from pikachu.config.sections import SECTIONS

_HEAD: Final = """# Settings

Every setting of `config.ini`, section by section, with its default and the values that it takes. This chapter is
generated from the declarations that the program reads its configuration by. The shipped file sets some of them and has
the same explanations; `pikachu config --sample` prints it, `pikachu config` prints what is in force.

- Relative paths are relative to the file.
- `${NAME}` takes an environment variable.
- Durations: `90s`, `20m`, `10h`, `4d`, `2w`. Sizes in bytes: `10240`, `64K`, `1M`.
- Changes take effect after a restart; TLS certificates, CA chains, the default policy and the log level also on SIGHUP.
- An unknown section, key or value stops the start with one line that names it.
"""
# No kind of setting accepts it, so that the error says what is expected.
_INVALID: Final = "\0"


def settings_chapter() -> str:
    """Return the Markdown of the chapter."""
    lines = [_HEAD]
    for section in SECTIONS:
        lines += [
            f"## Section {section.NAME}",
            "",
            section.ABOUT,
            "",
            "| Setting | Default | Meaning |",
            "|---|---|---|",
        ]
        for _, key in keys(section):
            default = f"`{_cell(key.default)}`" if key.default else ""
            lines.append(f"| `{key.name}` | {default} | {_cell(key.comment)}{_values(key)} |")
        lines.append("")
    return "\n".join(lines)


def _values(key: Key) -> str:
    """Return a sentence with the values that the setting takes, from the error about one that it doesn't."""
    try:
        key.kind.parse(_INVALID, Path("/"))
    except ValueError as error:
        expected = str(error).removeprefix("expected ")
        if str(error) != expected:
            return f" Values: {_cell(expected)}."
    return ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")
