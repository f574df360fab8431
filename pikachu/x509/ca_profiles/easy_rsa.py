"""Profiles of easy-rsa: the files of its folder ``x509-types``, and its file ``vars``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from pikachu.core.errors import BadTemplate, PikachuError
from pikachu.core.number_parsing import parse_number
from pikachu.x509.ca_profiles.model import CAProfile, UnusableProfile, check_days, extension_text
from pikachu.x509.template.configuration import Configuration

#: The validity of certificates that easy-rsa has by default.
EASY_RSA_DAYS: Final = 825
_DAYS: Final = "EASYRSA_CERT_EXPIRE"
_VARIABLE: Final = re.compile(
    r"""^[ \t]*set_var[ \t]+(EASYRSA_\w+)[ \t]+(?:"([^"\n]*)"|'([^'\n]*)'|([^\s#"']+))""", re.MULTILINE | re.ASCII
)


def read_easy_rsa_variables(text: str) -> dict[str, str]:
    """Return the variables that a file ``vars`` sets; what a shell would have to compute is left out."""
    variables = {}
    for match in _VARIABLE.finditer(text):
        value = match[2] or match[3] or match[4] or ""
        if "$" not in value and "`" not in value:
            variables[match[1]] = value
    return variables


def read_easy_rsa_type(name: str, text: str, common: str, variables: Mapping[str, str]) -> CAProfile | UnusableProfile:
    """Return the profile of a file in ``x509-types``.

    :param common: the file ``COMMON``, which easy-rsa writes before each.
    """
    days = variables.get(_DAYS)
    try:
        number = EASY_RSA_DAYS if days is None else parse_number(days, 10**6)
        if number is None:
            raise BadTemplate(0, f"{_DAYS} in vars is no number of days")
        configuration = Configuration(f"{common}\n{text}", {}, variables)
        content = extension_text(configuration, configuration.default)
    except PikachuError as error:
        return UnusableProfile(name, error.public)
    notes = () if days is not None else (f"no file vars sets {_DAYS}; easy-rsa's default is {EASY_RSA_DAYS} days",)
    try:
        return CAProfile(name, check_days(number), content, notes=notes)
    except BadTemplate as error:
        return UnusableProfile(name, error.public)
