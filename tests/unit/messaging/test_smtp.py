"""Mail, to a real server in this process (OPS-5)."""

from __future__ import annotations

import email
import email.policy
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from pikachu.config.setting_choices import SMTPSecurity
from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import NoticeNotDelivered
from pikachu.core.notice_interfaces import Mail
from pikachu.messaging.smtp import Mailer, SMTPSettings, compose
from tests.support.deferreds import result_of
from tests.support.pki import make_ca, make_leaf
from tests.support.ports import free_port

MAIL = Mail("ops@example.com", "Pikachu CA: 1 notice", "- pump-1: expires", "0c3d")
PASSWORD = "correct horse battery"
NOW = datetime(2026, 12, 1, tzinfo=UTC)


class Inbox:
    """Takes mail, except for some recipients."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Refuse a mailbox that does not exist."""
        if address.startswith("nobody"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("later"):
            return "450 4.2.1 greylisted"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep a mail."""
        self.envelopes.append(envelope)
        return "250 2.0.0 kept as 17"


def check_password(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
) -> AuthResult:
    """Accept one account."""
    return AuthResult(success=(data.login, data.password) == (b"pikachu", PASSWORD.encode()))


@contextmanager
def mail_server(folder: Path, inbox: Inbox, **options: Any) -> Iterator[SMTPSettings]:
    """Run a mail server with a certificate for ``localhost``."""
    root = make_ca("p256", "Mail root", path_length=1, slot=3)
    make_leaf(root, "localhost", sans=["DNS:localhost"]).write(folder, "mail")
    root.write(folder, "root")
    password = folder / "password"
    password.write_text(PASSWORD + "\n", encoding="ascii")
    password.chmod(0o600)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "mail.crt", folder / "mail.key")
    controller = Controller(
        inbox,
        hostname="127.0.0.1",
        port=free_port(),
        server_hostname="localhost",
        **{
            "tls_context": context,
            "require_starttls": True,
            "authenticator": check_password,
            "auth_required": True,
            **options,
        },
    )
    controller.start()
    try:
        yield SMTPSettings(
            "localhost",
            controller.port,
            SMTPSecurity.STARTTLS,
            "pikachu@example.com",
            folder / "root.crt",
            "pikachu",
            password,
            5.0,
        )
    finally:
        controller.stop()


def send(settings: SMTPSettings, mail: Mail = MAIL) -> str:
    clock = Clock()
    clock.advance(NOW.timestamp())
    return result_of(Mailer(settings, ImmediatePool(), clock).send(mail))


def test_starttls(tmp_path: Path) -> None:
    """A mail arrives over verified TLS, after signing in, and the server's answer is returned."""
    inbox = Inbox()
    with mail_server(tmp_path, inbox) as settings:
        assert send(settings) == "250 2.0.0 kept as 17"
    (envelope,) = inbox.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("pikachu@example.com", ["ops@example.com"])
    assert isinstance(envelope.content, bytes)
    message = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert message["Message-ID"] == "<0c3d@example.com>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content().strip() == "- pump-1: expires"


def wrong_password(settings: SMTPSettings, folder: Path) -> SMTPSettings:
    assert settings.password_file is not None
    settings.password_file.write_text("wrong", encoding="ascii")
    return settings


def readable_password(settings: SMTPSettings, folder: Path) -> SMTPSettings:
    assert settings.password_file is not None
    settings.password_file.chmod(0o644)
    return settings


def other_root(settings: SMTPSettings, folder: Path) -> SMTPSettings:
    make_ca("p256", "Other root", slot=5).write(folder, "other")
    return replace(settings, ca_cert_path=folder / "other.crt")


#: What is wrong → what the message says.
WRONG: dict[str, tuple[Callable[[SMTPSettings, Path], SMTPSettings], str]] = {
    "password": (wrong_password, "535|password_file"),
    "mode of the password": (readable_password, "chmod 600"),
    "no password file": (lambda settings, folder: replace(settings, password_file=folder / "none"), "can't be read"),
    "root": (other_root, "certificate is not valid"),
    "name": (lambda settings, folder: replace(settings, host="127.0.0.1"), "certificate is not valid"),
    "port": (lambda settings, folder: replace(settings, port=free_port()), "can't be reached"),
    "no TLS": (lambda settings, folder: replace(settings, security=SMTPSecurity.NONE), "refuses|lacks"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_settings(tmp_path: Path, case: str) -> None:
    """An error says what is wrong, without the password, and no mail is sent."""
    change, expected = WRONG[case]
    inbox = Inbox()
    with mail_server(tmp_path, inbox) as settings, pytest.raises(NoticeNotDelivered, match=expected) as caught:
        send(change(settings, tmp_path))
    assert not inbox.envelopes
    assert not caught.value.is_final
    assert PASSWORD not in str(caught.value) + repr(caught.value.context)


@pytest.mark.parametrize(("recipient", "is_final"), [("nobody@example.com", True), ("later@example.com", False)])
def test_refused_recipients(tmp_path: Path, recipient: str, is_final: bool) -> None:
    """A mailbox that does not exist is final, greylisting is not."""
    with mail_server(tmp_path, Inbox()) as settings, pytest.raises(NoticeNotDelivered) as caught:
        send(settings, replace(MAIL, recipient=recipient))
    assert caught.value.is_final is is_final


def test_implicit_tls_is_verified(tmp_path: Path) -> None:
    """A server without TLS is no server for ``security = tls``."""
    with mail_server(tmp_path, Inbox()) as settings, pytest.raises(NoticeNotDelivered):
        send(replace(settings, security=SMTPSecurity.TLS))


#: Texts of certificates, and hostile ones.
TEXTS = (
    "pump",
    "насос",
    "ポンプ",
    "مضخة",
    "a\r\nBcc: x@example.com",
    "\x00\x1b[31m",
    ".\n.\nQUIT",
    "x" * 2000,
    "\ud800",
)


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_texts(text: str) -> None:
    """Any text is one header or some lines of the body, and adds no header."""
    message = email.message_from_bytes(
        compose(replace(MAIL, subject=text, text=text), "pikachu@example.com", NOW), policy=email.policy.default
    )
    assert set(message.keys()) == {
        *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version"),
        *("Content-Type", "Content-Transfer-Encoding"),
    }
    if text.isprintable() and len(text) < 200:
        assert message["Subject"] == text
        assert message.get_content().strip() == text


def test_address_with_a_header() -> None:
    """An address with a line break is refused."""
    with pytest.raises(NoticeNotDelivered) as caught:
        send(SMTPSettings("localhost", 1, SMTPSecurity.NONE, "a@example.com"), replace(MAIL, recipient="a\r\nB: c@d"))
    assert caught.value.is_final
