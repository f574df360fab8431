"""The choices of every form that issues a certificate: policies, issuing CAs and the validity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pikachu.ca.issuers import IssuingCAs
from pikachu.core.errors import MalformedRequest
from pikachu.core.model.certificates import Method
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Principal
from pikachu.core.model.policies import Approval, Policy
from pikachu.core.number_parsing import parse_number
from pikachu.inventory.certificates import CertificateQueries
from pikachu.ra.default_policy import DEFAULT_POLICY_NAME
from pikachu.ra.policies import NO_EXTENSIONS_POLICY, accepts_role, usable_by
from pikachu.ra.policy_administration import PolicyAdministration
from pikachu.web.ui.tables import NOBODY
from pikachu.x509.names import read_name

_MAXIMUM_POLICIES: Final = 1000


@dataclass(frozen=True, slots=True)
class PolicyChoice:
    """A policy to select.

    :param days: its validity.
    """

    name: str
    label: str
    days: int


class IssuanceChoices:
    """Policies and issuing CAs that a user may select."""

    def __init__(
        self, *, policy_administration: PolicyAdministration, issuers: IssuingCAs, inventory: CertificateQueries
    ) -> None:
        self._policies = policy_administration
        self._issuers = issuers
        self._inventory = inventory

    async def default_days(self, actor: Principal) -> int:
        """Return the validity of the default policy."""
        return (await self._policies.default(actor)).days

    async def policies(self, actor: Principal) -> list[tuple[str, list[PolicyChoice]]]:
        """Return (heading, policies) of each group to select from; policies that the role can't use are left out."""
        default = await self._policies.default(actor)
        found = await self._policies.list(actor, ListQuery(limit=_MAXIMUM_POLICIES, sort="name"))
        policies = usable_by(actor, found.items)
        names = await self._inventory.owner_names(actor, [policy.owner_id for policy in policies])
        system = [_choice(policy) for policy in policies if policy.system]
        own = [_choice(policy) for policy in policies if not policy.system and policy.owner_id == actor.owner_id]
        others = [
            _choice(policy, names.get(policy.owner_id, NOBODY))
            for policy in policies
            if not policy.system and policy.owner_id != actor.owner_id
        ]
        built_in = [
            PolicyChoice(default.name, f"{default.name} ({default.days} days)", default.days),
            PolicyChoice(NO_EXTENSIONS_POLICY, f"{NO_EXTENSIONS_POLICY} (no extensions)", default.days),
        ]
        if not accepts_role(default, actor.role):
            built_in = []
        groups = [("Built in", built_in), ("System policies", system), ("My own", own), ("Other users'", others)]
        return [group for group in groups if group[1]]

    def issuers(self) -> list[tuple[str, str]]:
        """Return (name, label) of each issuing CA, and an empty name for that of the policy."""
        choices = [("", f"As the policy says, else {self._issuers.default.name}")]
        for name, issuer in self._issuers.current.items():
            subject = read_name(issuer.certificate.subject_der)
            until = f"{issuer.certificate.not_after:%Y-%m-%d}"
            choices.append((name, f"{name}: {subject.common_name or subject.text} ({issuer.key.text}, until {until})"))
        return choices

    async def labels(self, actor: Principal, policy: str) -> tuple[str | None, str | None]:
        """Return the labels of a policy in EST and in SCEP paths; ``None``: it is not enabled for that protocol.

        The default policy has an empty label: that of the protocol applies.

        :raises MalformedRequest: it is enabled for neither.
        """
        if policy == DEFAULT_POLICY_NAME:
            return "", ""
        labels = [
            policy if any(one.name == policy for one in await self._policies.labels(actor, protocol)) else None
            for protocol in (Method.EST, Method.SCEP)
        ]
        if labels == [None, None]:
            raise MalformedRequest(
                f"Devices can't enroll under the policy {policy}: enable it for EST or SCEP on the page Enrollment, or "
                "choose another one."
            )
        return labels[0], labels[1]

    async def days(self, actor: Principal, policy: str, text: str) -> int | None:
        """Return the requested validity in days, or None for that of the policy.

        The prefilled default may be shortened to the CA's end; a number the user typed is refused if too long.

        :raises MalformedRequest: *text* is no number.
        """
        if not text:
            return None
        days = parse_number(text)
        if days is None:
            raise MalformedRequest("Enter a whole number of days from 1 to 36,500.", field="days")
        if policy in (DEFAULT_POLICY_NAME, NO_EXTENSIONS_POLICY):
            return None if days == await self.default_days(actor) else days
        return None if days == (await self._policies.find(actor, policy)).days else days


def _choice(policy: Policy, owner: str = "") -> PolicyChoice:
    details = [f"{policy.days} days"]
    if policy.issuer is not None:
        details.append(f"signed by {policy.issuer}")
    if policy.approval.needed:
        details.append("waits for approval" if policy.approval is Approval.MANUAL else "waits for two approvals")
    if owner:
        details.append(f"of {owner}")
    return PolicyChoice(policy.name, f"{policy.name}: {', '.join(details)}", policy.days)
