"""Import of another CA program's profiles as policies and certificate templates (OPS-7).

Nothing is replaced: a name that is in use for something else is a conflict.  What is imported again changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Final

from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.core.errors import NotFound, RequestError
from pikachu.core.import_interfaces import Finding
from pikachu.core.interfaces import IWorkerPool
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Principal, Role
from pikachu.core.model.policies import Policy, PolicyLimits
from pikachu.inventory.templates import CertificateTemplates, TemplateDraft
from pikachu.ra.policy_administration import PolicyAdministration
from pikachu.x509.ca_profiles import CAProfile
from pikachu.x509.names import NameAttribute, attribute_name, read_name
from pikachu.x509.profile import authority_granted
from pikachu.x509.template import ExtensionContext, parse

# Roles that may use imported policies: with the other program, nobody had accounts of their own.
_ROLES: Final = (Role.OPERATOR, Role.ADMIN)
_TEMPLATES_READ: Final = 1000
# Profile types by what a text has in lower case, the first that matches.
_TYPES: Final = (
    ("ca:true", "Sub CA"),
    ("ocspsigning", "OCSP responder"),
    ("codesigning", "Code signing"),
    ("serverauth", "TLS server"),
    ("clientauth", "TLS client"),
)
_OTHER_TYPE: Final = "Other"
# An attribute alone could also stand within the value of another one.
_MIN_MATCHED: Final = 2
_WILDCARDS: Final = "*?"


@dataclass(frozen=True, slots=True)
class FoundProfile:
    """A profile with its file, and the issuing CA of the folder if it is known."""

    path: PurePosixPath
    profile: CAProfile
    issuer: IssuingCA | None


@dataclass(slots=True)
class ProfileSummary:
    """The result of an import of profiles: numbers by kind, and of those that were there before."""

    added: Counter[Finding] = field(default_factory=Counter)
    known: int = 0


Tell = Callable[[Finding, object, str], None]


class ProfileImport:
    """Imports profiles as system policies, and as shared certificate templates what no policy may have or needs."""

    def __init__(
        self,
        *,
        policies: PolicyAdministration,
        templates: CertificateTemplates,
        issuers: IssuingCAs,
        pool: IWorkerPool,
    ) -> None:
        self._policies = policies
        self._templates = templates
        self._issuers = issuers
        self._pool = pool

    async def run(
        self, actor: Principal, profiles: Sequence[FoundProfile], tell: Tell, *, dry_run: bool
    ) -> ProfileSummary:
        """Import profiles; for administrators, called by :class:`pikachu.operations.folder_import.FolderImport`.

        :return: fails with StoreUnavailable.
        """
        summary = ProfileSummary()
        if not profiles:
            return summary
        templates = await self._shared_templates(actor)
        policies: dict[str, Policy] = {}
        for found in profiles:
            try:
                power = await self._pool.run(_granted_power, found.profile.text, self._issuers.default)
                days = found.profile.days
                if days is None or power is not None:
                    kind = Finding.TEMPLATE
                    is_new = await self._add_template(actor, found, templates, dry_run=dry_run)
                else:
                    kind = Finding.POLICY
                    is_new = await self._add_policy(actor, found, days, policies, tell, dry_run=dry_run)
            except _NameInUse as error:
                tell(Finding.CONFLICT, found.path, str(error))
            except RequestError as error:
                tell(Finding.SKIPPED, found.path, f"{found.profile.name}: {error.public}")
            else:
                if not is_new:
                    summary.known += 1
                    continue
                summary.added[kind] += 1
                about = found.profile.name
                if kind is Finding.POLICY:
                    about = f"{about}: {days} days"
                elif power is not None:
                    about = f"{about}: with {power}, which is no policy's"
                tell(kind, found.path, about)
        return summary

    async def _add_policy(
        self, actor: Principal, found: FoundProfile, days: int, before: dict[str, Policy], tell: Tell, *, dry_run: bool
    ) -> bool:
        """Create a policy; return False when it is there already.

        :param before: the policies of this run, by name.
        """
        profile = found.profile
        subject, notes = _subject_pattern(profile.matched, found.issuer or self._issuers.default)
        policy = Policy(
            0,
            profile.name,
            days,
            profile.text,
            system=True,
            issuer=None if found.issuer is None else found.issuer.name,
            limits=PolicyLimits(honour_names=profile.copies_names, subject=subject),
            roles=_ROLES,
        )
        known = before.get(policy.name)
        if known is None:
            try:
                known = await self._policies.find(actor, policy.name)
            except NotFound:
                known = None
        if known is not None:
            if _content(known) != _content(policy):
                raise _NameInUse(f"{policy.name}: another policy has this name")
            return False
        if dry_run:
            await self._policies.check(actor, policy)
        else:
            await self._policies.add(actor, policy)
        before[policy.name] = policy
        for note in (*profile.notes, *notes):
            tell(Finding.NOTE, found.path, f"{policy.name}: {note}")
        return True

    async def _add_template(
        self, actor: Principal, found: FoundProfile, templates: dict[str, set[str]], *, dry_run: bool
    ) -> bool:
        """Create a certificate template; return False when it is there already.

        :param templates: the texts of shared templates by name.
        """
        name, text = found.profile.name, found.profile.text
        if text in templates.get(name, ()):
            return False
        if name in templates:
            raise _NameInUse(f"{name}: another certificate template has this name")
        if dry_run:
            await self._templates.validate(actor, text)
        else:
            type_ = next((type_ for word, type_ in _TYPES if word in text.lower()), _OTHER_TYPE)
            draft = TemplateDraft(name, type_, text, system=True, origin=found.path.name)
            await self._templates.add(actor, draft)
        templates[name] = {text}
        return True

    async def _shared_templates(self, actor: Principal) -> dict[str, set[str]]:
        templates: dict[str, set[str]] = {}
        query = ListQuery(limit=_TEMPLATES_READ, sort="id")
        while True:
            page = await self._templates.list(actor, query)
            for one in page.items:
                if one.owner_id is None:
                    templates.setdefault(one.name, set()).add(one.content)
            if page.next_cursor is None:
                return templates
            query = replace(query, cursor=page.next_cursor)


class _NameInUse(Exception):
    """Something else has the name."""


def _content(policy: Policy) -> tuple[object, ...]:
    """Return what an import decides about a policy."""
    limits = policy.limits
    return policy.days, policy.extensions, policy.system, policy.issuer, limits.honour_names, limits.subject


def _granted_power(text: str, issuer: IssuingCA) -> str | None:
    """Return the power of a CA that certificates with these extensions would have; blocks."""
    certificate = issuer.certificate
    context = ExtensionContext(
        subject_spki=certificate.spki_der,
        subject_der=certificate.subject_der,
        issuer_key_identifier=certificate.key_identifier,
        issuer_issuer_der=certificate.issuer_der,
        issuer_serial=certificate.serial,
    )
    powers = (authority_granted(extension) for extension in parse(text).extensions(context))
    return next((power for power in powers if power is not None), None)


def _subject_pattern(matched: Sequence[str], issuer: IssuingCA) -> tuple[str | None, list[str]]:
    """Return the pattern of subjects with attributes as the CA has them, and what it can't say.

    The attributes must be the first ones of the CA's name, as those of countries and organizations are.
    """
    if not matched:
        return None, []
    rdns = read_name(issuer.certificate.subject_der).rdns
    leading: list[NameAttribute] = []
    for attributes in rdns:
        if len(attributes) != 1 or attributes[0].oid not in matched:
            break
        leading.append(attributes[0])
    names = ", ".join(attribute_name(oid) for oid in matched)
    if {one.oid for one in leading} != set(matched) or len(leading) < _MIN_MATCHED:
        return None, [f"that {names} are as the CA has them is not checked; set a pattern for the subject"]
    text = ",".join(one.text for one in reversed(leading))
    if any(character in text for character in _WILDCARDS):
        return None, [f"that {names} are as the CA has them is not checked: they have characters of patterns"]
    return f"*,{text}", [f"subjects must begin with {names} of the CA, in this order"]
