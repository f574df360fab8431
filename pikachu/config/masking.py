"""The active configuration with secrets masked, for ``pikachu config`` and the Config page (CFG-11)."""

from __future__ import annotations

from typing import NamedTuple

from pikachu.config.configuration import Configuration
from pikachu.config.schema import keys
from pikachu.config.sections import SECTIONS


class Setting(NamedTuple):
    """One setting of the active configuration.

    :param value: the effective value in the syntax of the file, with absolute paths; secrets are ``********``.
    :param origin: ``file``, or ``default`` when the file does not set the key.
    """

    section: str
    key: str
    value: str
    origin: str


def masked(configuration: Configuration) -> list[Setting]:
    """Return all active settings, section by section."""
    settings: list[Setting] = []
    for cls in SECTIONS:
        section = getattr(configuration, cls.NAME.lower())
        for name, key in keys(cls):
            origin = "file" if (cls.NAME, name) in configuration.given else "default"
            settings.append(Setting(cls.NAME, key.name, key.kind.show(getattr(section, name)), origin))
    return settings
