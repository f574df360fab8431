"""Profiles in the folder of another CA program, read without trust in it (OPS-7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from pikachu.core.errors import MalformedRequest, PikachuError
from pikachu.operations.ca_folders import FolderFile, folder_files
from pikachu.x509.ca_profiles import (
    CAProfile,
    UnusableProfile,
    read_cfssl,
    read_easy_rsa_type,
    read_easy_rsa_variables,
    read_openssl,
)
from pikachu.x509.template.configuration import MAXIMUM_TEXT

#: Called with the path and the reason for what is left out.
Skip = Callable[[object, str], None]

_OPENSSL: Final = (".cnf", ".conf", ".cfg")
_CFSSL: Final = ".json"
_TYPES: Final = "x509-types"
_COMMON: Final = "COMMON"
_VARIABLES: Final = "vars"
# easy-rsa reads vars in its own folder, or in that of the PKI.
_PKI: Final = "pki"
_EASY_RSA: Final = "$ENV::EASYRSA_"
# What an openssl configuration has: of a CA, for requests, or of extensions.
_OPENSSL_KEYS: Final = (
    "default_ca",
    "x509_extensions",
    "distinguished_name",
    "basicConstraints",
    "keyUsage",
    "extendedKeyUsage",
    "subjectAltName",
)
_JINJA: Final = ".cnf.j2"
_MAX_PROFILES: Final = 1000


def folder_profiles(folder: Path, skip: Skip) -> list[tuple[PurePosixPath, CAProfile]]:
    """Return the profiles of ``openssl ca``, easy-rsa and cfssl, each with its file; blocks.

    :raises MalformedRequest: there are too many.
    """
    texts: dict[PurePosixPath, str] = {}
    for file in folder_files(folder, lambda *_: None):
        if file.path.name.endswith(_JINJA):
            skip(file.path, "copy it into the folder that [PATHS] x509_templates names")
            continue
        try:
            text = _text(file, folder)
        except PikachuError as error:
            skip(file.path, error.public)
        else:
            if text is not None:
                texts[file.path] = text
    profiles: list[tuple[PurePosixPath, CAProfile]] = []
    for path, text in texts.items():
        try:
            for one in _read(path, text, texts, folder):
                if isinstance(one, UnusableProfile):
                    skip(path, f"{one.name}: {one.reason}")
                else:
                    profiles.append((path, one))
        except PikachuError as error:
            skip(path, error.public)
        if len(profiles) > _MAX_PROFILES:
            raise MalformedRequest(f"the folder has more than {_MAX_PROFILES:,} profiles; import its parts one by one")
    return profiles


def _is_type(path: PurePosixPath, folder: Path) -> bool:
    parent = path.parent.name or folder.resolve().name
    return parent == _TYPES


def _text(file: FolderFile, folder: Path) -> str | None:
    """Return the text of a file that may have profiles or belong to them.

    :raises MalformedRequest: it is too large, or no text.
    """
    path = file.path
    if not (path.suffix.lower() in (*_OPENSSL, _CFSSL) or path.name == _VARIABLES or _is_type(path, folder)):
        return None
    try:
        content = file.read(MAXIMUM_TEXT)
    except OSError:
        # The import of certificates has said so.
        return None
    is_json = path.suffix.lower() == _CFSSL
    if content is None:
        if is_json:
            # A database of cfssl.
            return None
        raise MalformedRequest(f"larger than {MAXIMUM_TEXT >> 10} KiB, so its profiles are not read")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        if is_json:
            return None
        raise MalformedRequest("the text is not UTF-8") from None


def _read(
    path: PurePosixPath, text: str, texts: Mapping[PurePosixPath, str], folder: Path
) -> Iterator[CAProfile | UnusableProfile]:
    if _is_type(path, folder):
        if path.name != _COMMON:
            common = texts.get(path.parent / _COMMON, "")
            yield read_easy_rsa_type(path.name, text, common, _variables(path, texts))
    elif path.suffix.lower() == _CFSSL:
        if '"signing"' in text.lower():
            yield from read_cfssl(text)
    elif path.suffix.lower() in _OPENSSL and any(key in text for key in _OPENSSL_KEYS):
        if _EASY_RSA in text:
            yield UnusableProfile(path.name, f"easy-rsa signs by the files of {_TYPES}")
        else:
            yield from read_openssl(text, path.stem, {})


def _variables(path: PurePosixPath, texts: Mapping[PurePosixPath, str]) -> dict[str, str]:
    """Return the variables of the nearest file ``vars``."""
    for parent in path.parents:
        for place in (parent / _VARIABLES, parent / _PKI / _VARIABLES):
            if place in texts:
                return read_easy_rsa_variables(texts[place])
    return {}
