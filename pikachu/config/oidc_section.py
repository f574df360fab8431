"""Declarations of the section ``[OIDC]`` (ROL-2)."""

# Each field is declared by a call, so that the type checker compares its kind with its type.
# ruff: noqa: RUF009

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from pikachu.config.schema import Section
from pikachu.config.schema import setting as _key
from pikachu.config.setting_types import BOOLEAN, PATH, TEXT, URL, duration, optional


@dataclass(frozen=True, slots=True)
class OIDCSection(Section):
    """``[OIDC]``."""

    NAME: ClassVar[str] = "OIDC"
    ABOUT: ClassVar[str] = (
        "Single sign-on with an OpenID Connect provider. Register https://HOST:PORT/login/oidc/callback there."
    )
    UPPER: ClassVar[frozenset[str]] = frozenset()

    enabled: bool = _key(BOOLEAN, "false", "Whether the provider's accounts can sign in.")
    label: str = _key(TEXT, "single sign-on", "The provider's name on the sign-in page.")
    issuer: str | None = _key(
        optional(URL), "", "The provider's issuer URL, exactly as its discovery document names it."
    )
    client_id: str = _key(TEXT, "", "The client id that the provider has given to this server.")
    client_secret_file: Path | None = _key(
        optional(PATH), "", "A file whose first line is the client secret; empty for a public client."
    )
    scopes: str = _key(TEXT, "openid profile email", "The scopes to ask for, separated by spaces.")
    username_claim: str = _key(TEXT, "preferred_username", "The claim with the user name of a new account.")
    group_claim: str = _key(TEXT, "groups", "The claim with the names of the user's groups.")
    admin_group: str = _key(
        TEXT, "", "The group of administrators; without a group of any role, administrators choose roles here."
    )
    operator_group: str = _key(TEXT, "", "The group of operators.")
    auditor_group: str = _key(TEXT, "", "The group of auditors.")
    user_group: str = _key(TEXT, "", "The group that may sign in; empty: everyone whom the provider signs in.")
    timeout: int = _key(
        duration("s", maximum=60), "10s", "How long a call of the provider may take; a bare number is seconds."
    )

    @property
    def sends_plaintext(self) -> bool:
        """Whether tokens leave this machine without TLS."""
        url = urlsplit(self.issuer or "")
        return url.scheme == "http" and url.hostname not in ("localhost", "127.0.0.1", "::1")
