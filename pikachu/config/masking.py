"""The active configuration with secrets masked, for ``pikachu config`` and the Config page (CFG-11)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from pikachu.config.configuration import Configuration
from pikachu.config.schema import keys
from pikachu.config.sections import RAW_SECTIONS, SECTIONS
from pikachu.config.setting_types import MASK, mask_url

_SECRET_NAME: Final = re.compile(r"pass|secret|token|key|pin|credential|auth", re.IGNORECASE)


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
    for raw in RAW_SECTIONS:
        for name, text in getattr(configuration, raw.lower()).items():
            hidden = text and _SECRET_NAME.search(name)
            settings.append(Setting(raw, name, MASK if hidden else mask_url(text), "file"))
    return settings
