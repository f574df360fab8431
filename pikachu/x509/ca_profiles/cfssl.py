"""Profiles in a configuration of cfssl: JSON with an object ``signing`` (cfssl's config/config.go)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from pikachu.core.errors import BadTemplate, PikachuError
from pikachu.x509.ca_profiles.model import EXTENSIONS, CAProfile, UnusableProfile, check_days, extension_text
from pikachu.x509.template.configuration import Configuration

_KEY_USAGES: Final = {
    "signing": "digitalSignature",
    "digital signature": "digitalSignature",
    "content commitment": "nonRepudiation",
    "content committment": "nonRepudiation",
    "key encipherment": "keyEncipherment",
    "key agreement": "keyAgreement",
    "data encipherment": "dataEncipherment",
    "cert sign": "keyCertSign",
    "crl sign": "cRLSign",
    "encipher only": "encipherOnly",
    "decipher only": "decipherOnly",
}
_PURPOSES: Final = {
    "any": "2.5.29.37.0",
    "server auth": "serverAuth",
    "client auth": "clientAuth",
    "code signing": "codeSigning",
    "email protection": "emailProtection",
    "s/mime": "emailProtection",
    "ipsec end system": "1.3.6.1.5.5.7.3.5",
    "ipsec tunnel": "1.3.6.1.5.5.7.3.6",
    "ipsec user": "1.3.6.1.5.5.7.3.7",
    "timestamping": "timeStamping",
    "ocsp signing": "OCSPSigning",
    "microsoft sgc": "1.3.6.1.4.1.311.10.3.3",
    "netscape sgc": "2.16.840.1.113730.4.1",
}
# What a profile has from the default one where it sets nothing.
_INHERITED: Final = ("expiry", "issuer_urls", "ocsp_url", "crl_url")
# What has no counterpart, and why.
_ELSEWHERE: Final = {
    "name_whitelist": "it is a regular expression; set patterns with --names",
    "auth_key": "accounts and challenge passwords authenticate",
    "allowed_extensions": "of a request's extensions, the subjectAltName is copied only",
    "copy_extensions": "of a request's extensions, the subjectAltName is copied only",
    "ct_log_servers": "certificates are not sent to Certificate Transparency logs",
    "backdate": "certificates begin when they are issued",
    "not_before": "certificates begin when they are issued",
    "not_after": "policies have a number of days",
    "lint_error_level": "every policy is linted",
}
_DURATION: Final = re.compile(r"(?:\d{1,12}(?:\.\d{1,12})?(?:h|m|s|ms|us|µs|ns))+", re.ASCII)
# Begins where no number has begun: otherwise the time would grow with the square of the digits.
_PART: Final = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)")
_SECONDS: Final = {"h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DAY: Final = 86400
# No value may leave its line or its place in a list.
_VALUE: Final = re.compile(r"[^\s,;\\#$\"'`]{1,2048}")


def read_cfssl(text: str) -> list[CAProfile | UnusableProfile]:
    """Return the profiles, the default one first; none where the text is another kind of JSON.

    :raises BadTemplate: the text is no JSON, or not as cfssl reads it.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise BadTemplate(0, "this is not JSON") from None
    signing = _lower(content).get("signing") if isinstance(content, dict) else None
    if not isinstance(signing, dict):
        return []
    signing = _lower(signing)
    default = signing.get("default")
    profiles = signing.get("profiles") or {}
    if not isinstance(profiles, dict) or not isinstance(default, (dict, type(None))):
        raise BadTemplate(0, "signing has no objects default and profiles")
    inherited = _lower(default or {})
    named = ({} if default is None else {"default": default}) | profiles
    return [_read(name, profile, inherited) for name, profile in named.items()]


def _lower(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with its names in lower case: cfssl reads them in any."""
    return {name.lower(): value for name, value in fields.items()}


def _read(name: str, profile: object, default: Mapping[str, Any]) -> CAProfile | UnusableProfile:
    try:
        if not isinstance(profile, dict):
            raise BadTemplate(0, "the profile is no object")
        fields = _lower(profile)
        if fields.get("remote") or fields.get("auth_remote"):
            raise BadTemplate(0, "another cfssl signs for it (remote)")
        for key in _INHERITED:
            if not fields.get(key) and default.get(key):
                fields[key] = default[key]
        return _profile(name, fields)
    except PikachuError as error:
        return UnusableProfile(name, error.public)


def _profile(name: str, fields: Mapping[str, Any]) -> CAProfile:
    lines = [f"[ {EXTENSIONS} ]", f"basicConstraints = critical, {_basic_constraints(fields)}"]
    usages = [str(one).lower() for one in _list(fields, "usages")]
    unknown = [one for one in usages if one not in _KEY_USAGES and one not in _PURPOSES]
    if not usages:
        raise BadTemplate(0, "it has no usages, so cfssl signs nothing by it")
    if unknown:
        raise BadTemplate(0, f"the usage {unknown[0][:40]!r} is not known")
    for key, names in (("keyUsage = critical, ", _KEY_USAGES), ("extendedKeyUsage = ", _PURPOSES)):
        values = dict.fromkeys(names[one] for one in usages if one in names)
        if values:
            lines.append(key + ", ".join(values))
    access = [f"OCSP;URI:{_value(fields, 'ocsp_url')}"] if fields.get("ocsp_url") else []
    access += [f"caIssuers;URI:{_checked('issuer_urls', one)}" for one in _list(fields, "issuer_urls")]
    if access:
        lines.append("authorityInfoAccess = " + ", ".join(access))
    if fields.get("crl_url"):
        lines.append(f"crlDistributionPoints = URI:{_value(fields, 'crl_url')}")
    if fields.get("ocsp_no_check"):
        lines.append("noCheck = ignored")
    lines += _policies(fields)
    text = "\n".join(lines) + "\n"
    configuration = Configuration(text, {})
    extension_text(configuration, configuration.sections[EXTENSIONS])
    notes = [f"{key} is not taken over: {reason}" for key, reason in _ELSEWHERE.items() if fields.get(key)]
    whitelist = fields.get("csr_whitelist", fields.get("csrwhitelist"))
    copied = _lower(whitelist) if isinstance(whitelist, dict) else None
    copies = copied is None or any(copied.get(key) for key in ("dnsnames", "ipaddresses", "emailaddresses", "uris"))
    if copied is not None:
        notes.append("of csr_whitelist, only whether subject alternative names are copied is taken over")
    return CAProfile(name, _days(fields), text, copies, notes=tuple(notes))


def _basic_constraints(fields: Mapping[str, Any]) -> str:
    constraint = fields.get("ca_constraint")
    about = _lower(constraint) if isinstance(constraint, dict) else {}
    if not (about.get("is_ca") or fields.get("is_ca")):
        return "CA:FALSE"
    length = about.get("max_path_len")
    if isinstance(length, int) and not isinstance(length, bool) and (length > 0 or about.get("max_path_len_zero")):
        return f"CA:TRUE, pathlen:{length}"
    return "CA:TRUE"


def _policies(fields: Mapping[str, Any]) -> list[str]:
    """Return certificatePolicies, whose qualifiers are sections of their own."""
    names, sections = [], []
    for number, policy in enumerate(_list(fields, "policies")):
        about = _lower(policy) if isinstance(policy, dict) else {"id": policy}
        oid = _checked("policies", about.get("id"))
        qualifiers = about.get("qualifiers") or []
        if not isinstance(qualifiers, list):
            raise BadTemplate(0, "policies: the qualifiers are no list")
        if not qualifiers:
            names.append(oid)
            continue
        names.append(f"@policy_{number}")
        sections += ["", f"[ policy_{number} ]", f"policyIdentifier = {oid}"]
        for index, qualifier in enumerate(qualifiers, 1):
            one = _lower(qualifier) if isinstance(qualifier, dict) else {}
            if one.get("type") != "id-qt-cps":
                raise BadTemplate(0, "policies: a qualifier other than id-qt-cps is not supported")
            sections.append(f"CPS.{index} = {_checked('policies', one.get('value'))}")
    return [f"certificatePolicies = {', '.join(names)}", *sections] if names else []


def _days(fields: Mapping[str, Any]) -> int:
    """Return the days of a duration as Go writes it; a part of a day is cut off."""
    expiry = fields.get("expiry")
    if not isinstance(expiry, str) or not _DURATION.fullmatch(expiry):
        raise BadTemplate(0, "expiry is no duration such as 8760h")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(expiry))
    if seconds < _DAY:
        raise BadTemplate(0, f"expiry is {expiry[:40]}, and certificates are valid for a day at least")
    return check_days(int(seconds // _DAY))


def _list(fields: Mapping[str, Any], key: str) -> list[Any]:
    value = fields.get(key) or []
    if not isinstance(value, list):
        raise BadTemplate(0, f"{key} is no list")
    return value


def _value(fields: Mapping[str, Any], key: str) -> str:
    return _checked(key, fields[key])


def _checked(key: str, value: object) -> str:
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise BadTemplate(0, f"{key} has a value that can't be written into a policy")
    return value
