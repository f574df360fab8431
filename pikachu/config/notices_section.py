"""Declarations of the sections ``[SMTP]`` and ``[NOTICES]`` (OPS-5)."""

# Each field is declared by a call, so that the type checker compares its kind with its type.
# ruff: noqa: RUF009

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pikachu.config.schema import Section
from pikachu.config.schema import setting as _key
from pikachu.config.setting_choices import SMTPSecurity
from pikachu.config.setting_types import (
    BOOLEAN,
    KEY_ID,
    MAIL_ADDRESS,
    NETWORKS,
    PATH,
    REMOTE_PORT,
    TEXT,
    choice,
    duration,
    optional,
)


@dataclass(frozen=True, slots=True)
class SMTPSection(Section):
    """``[SMTP]``."""

    NAME: ClassVar[str] = "SMTP"
    ABOUT: ClassVar[str] = "The mail server that notices are sent by. `pikachu notices test mail ADDRESS` tests it."
    UPPER: ClassVar[frozenset[str]] = frozenset()

    enabled: bool = _key(BOOLEAN, "false", "Whether notices can be sent by mail.")
    host: str = _key(TEXT, "", "Its host name or address.")
    port: int = _key(REMOTE_PORT, "587", "Its port: usually 587, or 465 with security = tls.")
    security: SMTPSecurity = _key(
        choice(SMTPSecurity),
        "starttls",
        "starttls or tls, both with a verified certificate; none only for a mail server on this machine.",
    )
    ca_cert_path: Path | None = _key(
        optional(PATH), "", "The CA that its certificate is verified with; empty: the system's."
    )
    username: str = _key(TEXT, "", "The account to sign in with; empty: without.")
    password_file: Path | None = _key(optional(PATH), "", "A file whose first line is the password, with mode 0600.")
    sender: str = _key(MAIL_ADDRESS, "", "The sender of notices, such as pikachu@example.com.")
    timeout: int = _key(duration("s", minimum=1, maximum=60), "10s", "How long one answer of it may take.")


@dataclass(frozen=True, slots=True)
class NoticesSection(Section):
    """``[NOTICES]``."""

    NAME: ClassVar[str] = "NOTICES"
    ABOUT: ClassVar[str] = "Notices of what expires, by mail and webhook. Their rules are on the page Notices."
    UPPER: ClassVar[frozenset[str]] = frozenset()

    interval: int = _key(
        duration("m", minimum=60, maximum=86400), "15m", "How often the rules are applied; each time is one digest."
    )
    give_up: int = _key(
        duration("d", minimum=3600, maximum=30 * 86400), "3d", "How long a message is tried again that can't be sent."
    )
    webhook_key_file: Path | None = _key(
        optional(PATH),
        "",
        "A file with mode 0600 whose first line, at least 32 characters, is the key that webhooks are signed with; "
        "empty: there are none.",
    )
    webhook_key_id: str = _key(KEY_ID, "1", "The name of that key, which receivers are told.")
    webhook_ca_path: Path | None = _key(
        optional(PATH), "", "The CA that receivers' certificates are verified with; empty: the system's."
    )
    allow_private: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = _key(
        NETWORKS,
        "",
        "Private networks that webhooks may be in, such as 10.1.0.0/16; this machine and all others are refused.",
    )
