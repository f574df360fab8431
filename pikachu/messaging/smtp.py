"""Mail by SMTP submission (RFC 6409), with STARTTLS (RFC 3207) or implicit TLS (RFC 8314)."""

from __future__ import annotations

import smtplib
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred

from pikachu.config.setting_choices import SMTPSecurity
from pikachu.core.errors import NoticeNotDelivered
from pikachu.core.interfaces import IClock, IWorkerPool
from pikachu.core.model.times import utc
from pikachu.core.notice_interfaces import Mail
from pikachu.messaging.secret_files import read_secret

# What a server may say, in characters, for people.
_ANSWER: Final = 300


@dataclass(frozen=True, slots=True)
class SMTPSettings:
    """A mail server.

    :param ca_cert_path: that its certificate is verified with; ``None`` for the system's.
    :param timeout: seconds for each of its answers.
    """

    host: str
    port: int
    security: SMTPSecurity
    sender: str
    ca_cert_path: Path | None = None
    username: str = ""
    password_file: Path | None = None
    timeout: float = 10.0


def compose(mail: Mail, sender: str, now: datetime) -> bytes:
    """Return the message (RFC 5322) of a mail, in any script; control characters become spaces.

    :raises ValueError: for an address with control characters.
    """
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = mail.recipient
    message["Subject"] = _printable(mail.subject, 200)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{mail.uid}@{sender.rpartition('@')[2]}>"
    # RFC 3834: nobody's vacation program answers.
    message["Auto-Submitted"] = "auto-generated"
    text = "\n".join(_printable(line, 900) for line in mail.text.split("\n"))
    message.set_content(text, charset="utf-8", cte="base64")
    return message.as_bytes()


class Mailer:
    """See :class:`pikachu.core.notice_interfaces.IMailer`.

    :param pool: waits for the server.
    """

    def __init__(self, settings: SMTPSettings, pool: IWorkerPool, clock: IClock) -> None:
        self._settings = settings
        self._pool = pool
        self._clock = clock

    def send(self, mail: Mail) -> Deferred[str]:
        """Send a mail, and return the server's answer."""
        return self._pool.run(self._send, mail, utc(self._clock.seconds()))

    def _send(self, mail: Mail, now: datetime) -> str:
        settings = self._settings
        try:
            content = compose(mail, settings.sender, now)
        except ValueError as error:
            raise NoticeNotDelivered("This address can't be sent mail.", is_final=True) from error
        try:
            with self._connected() as server:
                _expect(server.mail(settings.sender))
                _expect(server.rcpt(mail.recipient))
                return _expect(server.data(content))
        except smtplib.SMTPResponseException as error:
            # A refusal of the mailbox won't change; one of the connection or of signing in may.
            is_final = error.smtp_code in (550, 551, 553)
            raise NoticeNotDelivered(
                f"The mail server refuses: {_answer(error.smtp_code, error.smtp_error)}", is_final=is_final
            ) from error
        except ssl.SSLCertVerificationError as error:
            raise NoticeNotDelivered(
                f"The mail server's certificate is not valid: {_printable(error.verify_message, _ANSWER)}. Set "
                "[SMTP] host and ca_cert_path to what it is for."
            ) from error
        except smtplib.SMTPNotSupportedError as error:
            raise NoticeNotDelivered(f"The mail server lacks something: {_printable(str(error), _ANSWER)}") from error
        except (OSError, smtplib.SMTPException) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise NoticeNotDelivered(
                f"The mail server can't be reached: {_printable(str(reason), _ANSWER)}", error=str(error)
            ) from error

    def _connected(self) -> smtplib.SMTP:
        """Return a connection that is encrypted and signed in as configured."""
        settings = self._settings
        context = ssl.create_default_context(cafile=settings.ca_cert_path)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        name = settings.sender.rpartition("@")[2]
        server: smtplib.SMTP
        if settings.security is SMTPSecurity.TLS:
            server = smtplib.SMTP_SSL(
                settings.host, settings.port, local_hostname=name, timeout=settings.timeout, context=context
            )
        else:
            server = smtplib.SMTP(settings.host, settings.port, local_hostname=name, timeout=settings.timeout)
        try:
            if settings.security is SMTPSecurity.STARTTLS:
                server.starttls(context=context)
            if settings.username and settings.password_file is not None:
                _sign_in(server, settings.username, read_secret(settings.password_file, "[SMTP] password_file"))
            server.ehlo_or_helo_if_needed()
        except BaseException:
            with suppress(OSError):
                server.close()
            raise
        return server


def _sign_in(server: smtplib.SMTP, username: str, password: str) -> None:
    try:
        server.login(username, password)
    except smtplib.SMTPServerDisconnected as error:
        # Some close the connection after the first of several mechanisms was refused.
        raise NoticeNotDelivered(
            "The mail server closes the connection when signing in. Check [SMTP] username and password_file."
        ) from error


def _expect(reply: tuple[int, bytes]) -> str:
    code, text = reply
    if not 200 <= code < 300:
        raise smtplib.SMTPResponseException(code, text)
    return _answer(code, text)


def _answer(code: int, text: bytes | str) -> str:
    return _printable(f"{code} {text.decode('utf-8', 'replace') if isinstance(text, bytes) else text}", _ANSWER)


def _printable(text: str, limit: int) -> str:
    """Return a text of one line, without control characters and lone surrogates."""
    return "".join(one if one.isprintable() else " " for one in text[:limit])
