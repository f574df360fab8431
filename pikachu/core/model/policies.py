"""Enrollment policies and their limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final, TypeAlias

from pikachu.core.constraints import Length, Matches, Range
from pikachu.core.errors import PolicyViolation
from pikachu.core.model.certificates import Method
from pikachu.core.model.lint import LintOverride
from pikachu.core.model.people import Role

#: The protocols whose paths have labels and default policies.
LABEL_PROTOCOLS: Final = (Method.EST, Method.SCEP)
#: By protocol, the id of the policy that becomes the default where a change takes the mark from another one.
NextDefaults: TypeAlias = Mapping[Method, int]
NO_NEXT_DEFAULTS: Final[NextDefaults] = MappingProxyType({})
#: The roles that can use policies; auditors enroll nothing.
POLICY_ROLES: Final = (Role.USER, Role.OPERATOR, Role.ADMIN)
#: Bounds of a validity in days.
DAYS: Final = Range(1, 36500, PolicyViolation)
#: A kind of keys that a policy allows; ``RSA``, ``EC`` and ``PQC`` alone mean any of the family.
KEY_LIMIT: Final = Matches(
    "RSA(/[1-9][0-9]{3,4})?|EC(/(prime256v1|secp384r1|secp521r1|secp256k1))?|Ed25519|PQC(/mldsa(44|65|87))?",
    "one of RSA, EC, PQC and Ed25519, or one of them with its size, curve or algorithm, such as RSA/2048",
)
#: A pattern of names.
NAME_PATTERN: Final = Length(1, 256)


class Approval(StrEnum):
    """The approval mode of enrollments: by nobody, by one person, or by two."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"
    FOUR_EYES = "four-eyes"

    @property
    def needed(self) -> int:
        """The number of people who must approve an enrollment."""
        return {Approval.AUTOMATIC: 0, Approval.MANUAL: 1, Approval.FOUR_EYES: 2}[self]


@dataclass(frozen=True, slots=True)
class PolicyLimits:
    """The restrictions of a policy (POL-4); empty tuples and ``None`` impose none beyond the CA's own rules.

    :param keys: ``RSA/2048``, ``EC/prime256v1``, ``Ed25519``, ``PQC/mldsa44`` …; ``RSA`` alone means any size.
    :param subject: a pattern with ``*`` and ``?`` that the whole RFC 4514 subject must match.
    :param names: such patterns; each subjectAltName (``DNS:a.example.com``) must match one.
    :param honour_names: whether the CSR's subjectAltName is copied.
    :param own_subject: a client certificate may enroll its own subject only.
    :param linked: EST requests must carry the TLS channel binding.
    :param same_key: a renewal may keep its key.
    :param exact_names: refuse names with a wrong string type, instead of encoding them again.
    :param other_countries: accept country codes other than those of two letters.
    :param other_names: the type-ids of the otherNames in a subjectAltName that are copied.
    :param identities: the name of the list of identities that may enroll.
    """

    keys: tuple[Annotated[str, KEY_LIMIT], ...] = ()
    subject: Annotated[str, NAME_PATTERN] | None = None
    names: tuple[Annotated[str, NAME_PATTERN], ...] = ()
    honour_names: bool = True
    max_days: Annotated[int, DAYS] | None = None
    own_subject: bool = False
    linked: bool = False
    same_key: bool = True
    exact_names: bool = False
    other_countries: bool = False
    other_names: tuple[str, ...] = ()
    identities: str | None = None


@dataclass(frozen=True, slots=True)
class SystemPolicySettings:
    """Settings of the default policy that are stored beside its files (POL-2).

    :param roles: the roles whose accounts may use it.
    """

    roles: tuple[Role, ...] = POLICY_ROLES
    lint_override: LintOverride | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """An enrollment policy.

    :param id: 0 for the default policy, which is stored in files (POL-2).
    :param days: the validity.
    :param extensions: OpenSSL-style text (``pikachu.x509.template``).
    :param use_for_est: the name is a label of EST paths; likewise *use_for_scep*.
    :param default_for_est: the policy applies on the EST path without a label: to its owner, or to everyone if it is a
        system policy; likewise *default_for_scep*.  In a change: the policy becomes the default, or stays it.
    :param issuer: the name of the issuing CA, or ``None`` for the default of the protocol.
    :param version: differs after each change; that of the default policy is derived from its texts and roles.
    :param roles: the roles whose accounts may use it (ROL-1).
    :param lint_override: the errors of lint that an administrator has accepted (LNT-1).
    """

    id: int
    name: str
    days: int
    extensions: str
    system: bool = False
    use_for_est: bool = False
    use_for_scep: bool = False
    default_for_est: bool = False
    default_for_scep: bool = False
    owner_id: int | None = None
    issuer: str | None = None
    approval: Approval = Approval.AUTOMATIC
    limits: PolicyLimits = PolicyLimits()
    created_at: datetime | None = None
    updated_at: datetime | None = None
    version: int = 0
    updated_by: str | None = None
    roles: tuple[Role, ...] = POLICY_ROLES
    lint_override: LintOverride | None = None

    def is_used_for(self, protocol: Method) -> bool:
        """Return whether the name is a label of a protocol's paths."""
        return {Method.EST: self.use_for_est, Method.SCEP: self.use_for_scep}.get(protocol, False)

    def is_default_for(self, protocol: Method) -> bool:
        """Return whether the policy applies on a protocol's path without a label."""
        return {Method.EST: self.default_for_est, Method.SCEP: self.default_for_scep}.get(protocol, False)
