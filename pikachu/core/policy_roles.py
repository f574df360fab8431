"""Roles that may use a policy (ROL-1)."""

from __future__ import annotations

from collections.abc import Iterable

from pikachu.core.errors import MalformedRequest, NotAuthorized
from pikachu.core.model.people import Principal, Role
from pikachu.core.model.policies import POLICY_ROLES, Policy


def accepts_role(policy: Policy, role: Role | None) -> bool:
    """Return whether accounts of *role* may use a policy; requesters without an account count as users."""
    return (Role.USER if role is None else role) in policy.roles


def require_role(policy: Policy, role: Role | None) -> None:
    """Require that accounts of *role* may use a policy.

    :raises NotAuthorized: when they may not.
    """
    if not accepts_role(policy, role):
        raise NotAuthorized(
            f"The role {role or Role.USER} can't use the policy “{policy.name}”. Choose another policy, or have an "
            "administrator allow it.",
            policy=policy.name,
        )


def checked_roles(roles: Iterable[Role]) -> tuple[Role, ...]:
    """Return the roles of a policy in the usual order, each once.

    :raises MalformedRequest: when there is none, or one that can't use policies.
    """
    chosen = frozenset(roles)
    if not chosen or not chosen <= frozenset(POLICY_ROLES):
        raise MalformedRequest(f"Choose at least one of the roles {', '.join(POLICY_ROLES)}.")
    return tuple(role for role in POLICY_ROLES if role in chosen)


def usable_by(actor: Principal, policies: Iterable[Policy]) -> tuple[Policy, ...]:
    """Return the policies that the role of *actor* may use."""
    return tuple(policy for policy in policies if accepts_role(policy, actor.role))
