"""Prepares an empty Vault for Pikachu CA, with an operator's token: engines, keys, roles, policy, AppRole.

Each step leaves alone what is there, except the policy, which is brought up to date.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pikachu.core.errors import ConfigError
from pikachu.signers.vault.client import VaultClient, data_of
from pikachu.signers.vault.faults import VaultRefused
from pikachu.signers.vault.pki_mount import MAXIMUM_TTL, PKIMount
from pikachu.signers.vault.shared_keys import create_shared
from pikachu.signers.vault.transit_keys import Transit, TransitKey

#: Of the policy and of the AppRole.
ROLE_NAME: Final = "pikachu"
_AUTH_MOUNT: Final = "approle"
_LIFETIME: Final = "1h"

#: Called with ``made``, ``changed`` or ``left``, and the object.
Report = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class NewCredentials:
    """The credentials of the AppRole.

    :param secret_id: ``None`` when one exists already: Vault shows it only once.
    """

    role_id: str
    secret_id: str | None = field(repr=False)


def policy_of(keys: Mapping[str, TransitKey], mounts: Mapping[str, str], roles: Iterable[str]) -> str:
    """Return the policy under which Pikachu CA signs, and makes the next generations.

    :param keys: the transit keys by the names of issuing CAs.
    :param mounts: the mounts of the PKI engine likewise.
    :param roles: those of the PKI engine; without one, sign-verbatim has none.
    """
    rules = {"auth/token/lookup-self": ["read"], "auth/token/renew-self": ["update"]}
    for name, key in keys.items():
        rules[f"{key.mount}/sign/{key.name}/*"] = ["update"]
        rules[key.path] = ["read"]
        if name in mounts:
            rules[f"{key.mount}/wrapping_key"] = ["read"]
            rules[f"{key.path}/import_version"] = ["update"]
        else:
            rules[f"{key.path}/rotate"] = ["update"]
    for mount in dict.fromkeys(mounts.values()):
        rules |= _mount_rules(mount, roles)
    return "".join(f'path "{path}" {{\n  capabilities = {json.dumps(rule)}\n}}\n' for path, rule in rules.items())


def _mount_rules(mount: str, roles: Iterable[str]) -> dict[str, list[str]]:
    """Return the capabilities by paths of a mount of the PKI engine."""
    signing = f"{mount}/issuer/+/sign-verbatim"
    return {
        **{f"{signing}/{role}": ["update"] for role in roles},
        **{f"{mount}/roles/{role}": ["read"] for role in roles},
        signing: ["update"],
        f"{mount}/issuers": ["list"],
        f"{mount}/issuer/+": ["read", "update"],
        f"{mount}/issuers/import/cert": ["update"],
        f"{mount}/keys/import": ["update"],
        f"{mount}/cert/*": ["read"],
        f"{mount}/certs": ["list"],
        f"{mount}/certs/*": ["list"],
        f"{mount}/revoke": ["update"],
    }


class VaultSetup:
    """Makes what is missing; every method raises VaultFault.

    :param client: has an operator's token.
    """

    def __init__(self, client: VaultClient, report: Report) -> None:
        self._client = client
        self._transit = Transit(client)
        self._report = report

    def mount(self, path: str) -> None:
        """Enable the transit engine at *path*.

        :raises ConfigError: when another engine is there.
        """
        self._enable("sys/mounts", path, "transit", "the secrets engine transit")

    def pki_mount(self, path: str) -> None:
        """Enable the PKI engine at *path*.

        :raises ConfigError: when another engine is there.
        """
        self._enable("sys/mounts", path, "pki", "the secrets engine pki", config={"max_lease_ttl": MAXIMUM_TTL})

    def role(self, mount: str, name: str) -> None:
        """Create a role of the PKI engine; report why one that exists can't be used."""
        path = f"{mount}/roles/{name}"
        if self._read(path) is None:
            self._client.write(path, {"key_type": "any", "max_ttl": MAXIMUM_TTL, "no_store": False})
            self._report("made", f"the role {path}")
            return
        self._report("left", PKIMount(self._client, mount).role_fault(name) or f"the role {path}")

    def _enable(self, kind_path: str, path: str, kind: str, what: str, **settings: object) -> None:
        present = data_of(self._client.read(kind_path)).get(f"{path}/")
        if present is None:
            self._client.write(f"{kind_path}/{path}", {"type": kind, **settings})
            self._report("made", f"{what} at {path}/")
        elif not isinstance(present, dict) or present.get("type") != kind:
            raise ConfigError(f"at {path}/ of Vault is something else than {what}; choose another path")
        else:
            self._report("left", f"{what} at {path}/")

    def key(self, key: TransitKey, algorithm: str, mount: str | None = None) -> None:
        """Create a transit key.

        :param mount: of the PKI engine, which is to have the same key.
        """
        if self._transit.exists(key):
            self._report("left", f"the transit key {key}")
            return
        if mount is None:
            self._transit.create(key, algorithm)
        else:
            create_shared(self._transit, PKIMount(self._client, mount), key, algorithm)
        also = "" if mount is None else f", in {mount}/ too"
        self._report("made", f"the transit key {key} ({algorithm}){also}")

    def policy(self, text: str) -> None:
        """Write the policy."""
        path = f"sys/policies/acl/{ROLE_NAME}"
        present = self._read(path)
        outcome = "made" if present is None else "left" if present.get("policy") == text else "changed"
        if outcome != "left":
            self._client.write(path, {"policy": text})
        self._report(outcome, f"the policy {ROLE_NAME}")

    def approle(self, *, new_secret: bool) -> NewCredentials:
        """Create the AppRole, and a secret id when it has none.

        :param new_secret: make another secret id; those before stay valid.
        """
        self._enable("sys/auth", _AUTH_MOUNT, "approle", "the auth method approle")
        role = f"auth/{_AUTH_MOUNT}/role/{ROLE_NAME}"
        present = self._read(role)
        if present is None:
            self._client.write(role, {"token_policies": ROLE_NAME, "token_ttl": _LIFETIME, "token_type": "service"})
        self._report("made" if present is None else "left", f"the AppRole {ROLE_NAME}")
        role_id = data_of(self._client.read(f"{role}/role-id")).get("role_id")
        secret_id = None
        if new_secret or not self._client.list(f"{role}/secret-id"):
            secret_id = data_of(self._client.write(f"{role}/secret-id", {}, repeatable=False)).get("secret_id")
        self._report("made" if secret_id else "left", "a secret id")
        return NewCredentials(str(role_id), None if secret_id is None else str(secret_id))

    def _read(self, path: str) -> Mapping[str, Any] | None:
        try:
            return data_of(self._client.read(path))
        except VaultRefused as fault:
            if fault.status != 404:
                raise
            return None
