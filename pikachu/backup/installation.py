"""The files of an installation, and where each of them is restored.

Everything is restored below one folder.  What lies below the folder of ``config.ini`` keeps its relative path; the rest
goes below ``outside/``, and the restored ``config.ini`` names all of it by relative paths.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from pikachu.config.configuration import Configuration
from pikachu.config.schema import keys
from pikachu.config.sections import SECTIONS
from pikachu.core.errors import ConfigError

#: The name of the configuration in a restored folder.
CONFIG_NAME: Final = "config.ini"
_OUTSIDE: Final = "outside"
# Settings of what belongs to the machine.
_LEFT_OUT: Final = frozenset({("PKCS11", "module")})
# Settings whose files are no part of the CA, or are copied otherwise.
_NOT_COPIED: Final = frozenset(
    {
        *(("LOGGING", "log_file"), ("SCEP", "serial_file"), ("SCEP", "dump_dir")),
        *(("PATHS", "db_path"), ("PATHS", "crl_path"), ("PATHS", "crl_dir")),
    }
)
_CRL_SUFFIXES: Final = frozenset({".crl", ".pem", ".der"})
_MAX_FILES: Final = 20_000


@dataclass(frozen=True, slots=True)
class Installation:
    """The files of an installation, with where they are restored.

    :param files: by the relative path where it is restored.
    :param settings: section, key and new value of the settings that name files.
    :param database: where a SQLite database is restored; ``None`` for PostgreSQL.
    """

    files: dict[str, Path] = field(default_factory=dict)
    settings: list[tuple[str, str, str]] = field(default_factory=list)
    database: str | None = None


def installation(config: Configuration) -> Installation:
    """Return what belongs to the CA of a configuration.

    :raises ConfigError: when there are too many files, which a wrong folder in a setting causes.
    """
    folder = config.path.parent
    result = Installation(database=None if config.database.url else restored_path(folder, config.paths.db_path))
    result.files[CONFIG_NAME] = config.path
    crl_folder = config.paths.crl_dir or config.paths.crl_path.parent
    for section, key, path in _paths(config):
        new = restored_path(folder, path)
        if (section, key.lower()) in _LEFT_OUT:
            continue
        if (section, key.lower()) in config.given:
            # Also what is below the folder, since it may be named by an absolute path.
            result.settings.append((section, key, new))
        if (section, key.lower()) in _NOT_COPIED:
            continue
        for one in _files_of(path):
            _add(result, restored_path(folder, one), one)
    for one in _files_in(crl_folder):
        if one.suffix in _CRL_SUFFIXES:
            _add(result, restored_path(folder, one), one)
    for one in _files_in(config.paths.crl_path.parent):
        if one.suffix in _CRL_SUFFIXES and one.name.startswith(config.paths.crl_path.stem):
            _add(result, restored_path(folder, one), one)
    return result


def restored_path(folder: Path, path: Path) -> str:
    """Return where a file is restored, relative to the restored folder.

    :param folder: that of ``config.ini``.
    :param path: absolute.
    """
    try:
        relative = path.relative_to(folder)
    except ValueError:
        relative = Path(_OUTSIDE, *path.parts[1:])
    if ".." in relative.parts:
        relative = Path(_OUTSIDE, *path.resolve().parts[1:])
    return str(PurePosixPath(relative))


def _paths(config: Configuration) -> Iterator[tuple[str, str, Path]]:
    """Yield section, key and value of the settings that name a file or folder."""
    for cls in SECTIONS:
        section = getattr(config, cls.NAME.lower())
        for name, key in keys(cls):
            value = getattr(section, name)
            if isinstance(value, Path):
                yield cls.NAME, key.name, value


def _files_of(path: Path) -> Iterator[Path]:
    """Yield the files of a setting: the file with those of its other generations beside it, or all of a folder."""
    if path.is_dir():
        yield from (one for one in sorted(path.rglob("*")) if one.is_file())
        return
    if path.is_file():
        yield path
    if path.parent.is_dir():
        # pikachu.ca.rotation and pikachu.operations.rekey add .next, .former-… and .rotation.
        yield from (one for one in _files_in(path.parent) if one.name.startswith(f"{path.name}."))


def _files_in(folder: Path) -> list[Path]:
    """Return the files of a folder, without hidden and locked ones."""
    if not folder.is_dir():
        return []
    return sorted(one for one in folder.iterdir() if one.is_file() and not one.name.startswith("."))


def _add(result: Installation, name: str, path: Path) -> None:
    if name == result.database:
        return
    result.files.setdefault(name, path)
    if len(result.files) > _MAX_FILES:
        raise ConfigError(f"more than {_MAX_FILES:,} files belong to the configuration; see the folders it names")
